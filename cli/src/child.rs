//! The child of `run`: which secrets it gets, under which names, and what else it inherits.

mod environment;
mod files;
mod folder;
mod program;
mod selection;

pub(crate) use self::environment::Inheritance;
pub(crate) use self::files::{FilePlace, Files};
pub(crate) use self::folder::remove as remove_folder;
pub(crate) use self::program::{Program, forbid_core_dumps, own_binary};
pub(crate) use self::selection::{Binding, Selection, Target};
