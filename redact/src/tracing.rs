//! A writer for `tracing_subscriber::fmt`.

use tracing_subscriber::fmt::MakeWriter;

use crate::{RedactingWriter, Redactor};

/// Makes writers for `tracing_subscriber::fmt` that mask the values in each event.
///
/// An event is masked by itself: a value that begins in one event and ends in another is not found.
///
/// # Examples
/// ```
/// # use strongroom_redact::Redactor;
/// use strongroom_redact::RedactingMakeWriter;
///
/// let redactor = Redactor::new(); // keep a clone, and add values when they are read
/// let writer = RedactingMakeWriter::new(redactor.clone(), std::io::stderr);
/// let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
/// tracing::subscriber::with_default(subscriber, || tracing::info!("started"));
/// ```
#[derive(Clone, Debug)]
pub struct RedactingMakeWriter<M> {
    redactor: Redactor,
    inner: M,
}

impl<M> RedactingMakeWriter<M> {
    /// Masks what goes to the writers of `inner`.
    pub fn new(redactor: Redactor, inner: M) -> Self {
        Self { redactor, inner }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for RedactingMakeWriter<M> {
    type Writer = RedactingWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        self.redactor.writer(self.inner.make_writer())
    }

    fn make_writer_for(&'a self, meta: &::tracing::Metadata<'_>) -> Self::Writer {
        self.redactor.writer(self.inner.make_writer_for(meta))
    }
}
