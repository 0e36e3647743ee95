//! Names of environment variables for secrets.

use strongroom::SecretPath;

/// The variable that a path gives, as the `env` store reads it: letters in upper case, digits and `_` as they are,
/// `_` for anything else, and a `_` in front of a digit at the beginning. `db-host` gives `DB_HOST`.
pub(crate) fn from_path(path: &str) -> String {
    let first = path.starts_with(|first: char| first.is_ascii_digit()).then_some('_');
    let name = path.chars().map(|c| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9' | '_') => c,
        _ => '_',
    });
    first.into_iter().chain(name).collect()
}

/// Whether a POSIX shell can assign a variable of this name.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Names that programs obey or that shells refuse to set, between blanks. A store that gave one of them a value could
/// run code where its secrets are loaded, lead programs to other files, or stop the script that loads them. Each is
/// documented by its program; a name that often holds a secret, such as `GITHUB_TOKEN` or `SSH_PRIVATE_KEY`, is not
/// here.
const RESERVED: &[&str] = &[
    // The C library and the system.
    "COMSPEC GCONV_PATH GETCONF_DIR GLIBC_TUNABLES HOME HOSTALIASES LIBPATH LOCALDOMAIN LOCPATH",
    "NLSPATH PATHEXT RESOLV_HOST_CONF RES_OPTIONS SHLIB_PATH SYSTEMROOT TERMCAP TERMINFO",
    "TERMINFO_DIRS TMPDIR TZDIR WINDIR",
    // Shells.
    "BASH BASHOPTS BASHPID CDPATH DIRSTACK ENV EPOCHREALTIME EPOCHSECONDS EUID EXECIGNORE FCEDIT",
    "FIGNORE FPATH FUNCNAME FUNCNEST GLOBIGNORE GROUPS HISTCMD HISTFILE HISTTIMEFORMAT HOSTFILE",
    "IFS IGNOREEOF INPUTRC LINENO MAIL MAILCHECK MAILPATH MODULE_PATH NULLCMD OLDPWD OPTARG",
    "OPTERR OPTIND PATH PIPESTATUS POSIXLY_CORRECT PPID PROMPT PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4",
    "PSMODULEPATH PWD RANDOM READNULLCMD REPLY RPROMPT RPS1 SECONDS SHELL SHELLOPTS SHLVL SPROMPT",
    "SRANDOM TIMEFORMAT TMOUT UID ZDOTDIR _ __PSLOCKDOWNPOLICY",
    // Editors, pagers and what opens them.
    "AWS_PAGER BAT_PAGER BROWSER EDITOR EMACSLOADPATH EXINIT GH_BROWSER GH_EDITOR GH_PAGER",
    "GVIMINIT KUBE_EDITOR LESS LESSCLOSE LESSEDIT LESSKEY LESSKEYIN LESSKEYIN_SYSTEM",
    "LESSKEY_SYSTEM LESSOPEN MANOPT MANPAGER MANPATH MORE MYVIMRC PAGER PSQLRC PSQL_EDITOR",
    "PSQL_PAGER SUDO_EDITOR VIM VIMINIT VIMRUNTIME VISUAL",
    // Programs that start others or choose whom to trust.
    "CI CURL_CA_BUNDLE CURL_HOME CVS_RSH DOCKER_CONFIG DOCKER_HOST GITHUB_ENV GITHUB_OUTPUT",
    "GITHUB_PATH GITHUB_STATE GITHUB_STEP_SUMMARY GITHUB_WORKSPACE GNUPGHOME HELM_PLUGINS HG",
    "HGEDITOR HGMERGE HGRCPATH KRB5_CONFIG KUBECONFIG OPENSSL_CONF OPENSSL_CONF_INCLUDE",
    "OPENSSL_ENGINES OPENSSL_MODULES REQUESTS_CA_BUNDLE RSYNC_CONNECT_PROG RSYNC_RSH SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE SSH_AUTH_SOCK SSH_SK_HELPER SSH_SK_PROVIDER SSLKEYLOGFILE SSL_CERT_DIR",
    "SSL_CERT_FILE SUDO_ASKPASS SVN_EDITOR SVN_SSH TAR_OPTIONS WGETRC",
    // Compilers and builds.
    "ANT_ARGS ANT_OPTS CARGO_HOME COMPILER_PATH CPATH GCC_EXEC_PREFIX GNUMAKEFLAGS GRADLE_OPTS",
    "GRADLE_USER_HOME LIBRARY_PATH MAKEFILES MAKEFLAGS MAVEN_ARGS MAVEN_OPTS MFLAGS",
    "PKG_CONFIG_PATH RUSTC RUSTC_WORKSPACE_WRAPPER RUSTC_WRAPPER RUSTDOC RUSTDOCFLAGS RUSTFLAGS",
    "RUSTUP_HOME RUSTUP_TOOLCHAIN SBT_OPTS",
    // Interpreters and run-times.
    "AWKLIBPATH AWKPATH BUNDLE_BIN BUNDLE_GEMFILE BUNDLE_PATH BUN_OPTIONS CAML_LD_LIBRARY_PATH",
    "CLASSPATH ELIXIR_ERL_OPTIONS ERL_AFLAGS ERL_FLAGS ERL_LIBS ERL_ZFLAGS GEM_HOME GEM_PATH",
    "GIO_EXTRA_MODULES GODEBUG GOENV GOFLAGS GOPATH GOROOT GOTOOLCHAIN GTK_MODULES JAVA_HOME",
    "JAVA_OPTS JAVA_TOOL_OPTIONS JDK_JAVAC_OPTIONS JDK_JAVA_OPTIONS JULIA_DEPOT_PATH",
    "JULIA_LOAD_PATH JULIA_PROJECT NODE_EXTRA_CA_CERTS NODE_OPTIONS NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE NODE_TLS_REJECT_UNAUTHORIZED PERLIO PERLIO_DEBUG PERLLIB",
    "PERL_MB_OPT PERL_MM_OPT PHPRC PHP_INI_SCAN_DIR PIP_CONFIG_FILE QT_PLUGIN_PATH",
    "RUBYGEMS_GEMDEPS RUBYLIB RUBYOPT RUBYPATH RUBYSHELL R_ENVIRON R_ENVIRON_USER R_HOME R_LIBS",
    "R_LIBS_SITE R_LIBS_USER R_PROFILE R_PROFILE_USER TCLLIBPATH TCL_LIBRARY _JAVA_OPTIONS",
];

/// What reserved names begin with.
const RESERVED_PREFIXES: &[&str] = &[
    "BASH_",
    "CARGO_BUILD_",
    "CARGO_TARGET_",
    "COMPLUS_",
    "CORECLR_",
    "COR_",
    "DOTNET_",
    "DYLD_",
    "FISH_",
    "GIT_",
    "LD_",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MALLOC_",
    "NPM_CONFIG_",
    "PERL5",
    "PYTHON",
    "READLINE_",
    "STRONGROOM_",
    "SYSTEMD_",
    "TF_CLI_",
    "XDG_",
];

/// Whether a variable of this name, in any case, is one that programs obey.
pub(crate) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    RESERVED.iter().any(|names| names.split_ascii_whitespace().any(|reserved| reserved == name))
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The name of a secret below `prefix`: its path from there on.
pub(crate) fn below<'a>(path: &'a SecretPath, prefix: Option<&SecretPath>) -> &'a str {
    prefix.and_then(|prefix| path.below(prefix)).unwrap_or(path.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gives_the_variable_that_the_env_store_reads() {
        for (path, name) in [
            ("db-host", "DB_HOST"),
            ("production/openai/api-key", "PRODUCTION_OPENAI_API_KEY"),
            ("ops@example:key+1", "OPS_EXAMPLE_KEY_1"),
            ("2fa/seed", "_2FA_SEED"),
        ] {
            assert_eq!(from_path(path), name);
            assert!(is_name(name));
        }
        for name in ["", "1A", "A-B", "A B", "Ä", "A=B", "A\n"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_variable_that_programs_obey_is_reserved() {
        for path in [
            "path",
            "ld-preload",
            "bash-env",
            "bash/xtracefd",
            "python/path",
            "git/ssh-command",
            "lessopen",
            "lessclose",
            "mailpath",
            "openssl-conf",
            "optind",
            "ps0",
            "ps4",
            "random",
            "ssh/askpass",
            "github/env",
            "dotnet/startup-hooks",
            "rustc-wrapper",
        ] {
            assert!(is_reserved(&from_path(path)), "{path}");
        }
        assert!(is_reserved("Path"));
        for name in [
            "DB_PATH",
            "GITHUB",
            "GITHUB_TOKEN",
            "LDAP_PASSWORD",
            "HOME_KEY",
            "NODE_AUTH_TOKEN",
            "NPM_TOKEN",
            "PATHS",
            "SSH_PRIVATE_KEY",
            "",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
