//! Builds the XDP program with the first eBPF toolchain that works, to be embedded in the binary.
//!
//! The program needs `core` for the target bpfel-unknown-none and `bpf-linker`. Two ways provide
//! `core`: a nightly toolchain with the component rust-src, which builds it, and Debian's rustc
//! with the package libstd-rust-web-dev-bpf, which has it precompiled. `scripts/setup` installs
//! what is missing.
//!
//! Cargo runs this for `check` and `clippy` too, with its own wrappers and flags in the environment:
//! none of that may reach the inner build.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// The binary target of fib-ebpf, and the name under which `daemon::xdp` embeds it.
const OBJECT: &str = "peregrine-xdp";

const ADVICE: &str = "run scripts/setup, which installs an eBPF toolchain";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: the XDP program cannot be built: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("the daemon's manifest has no parent directory")?;
    for source in ["fib-ebpf/src", "fib-ebpf/Cargo.toml", "fib-ebpf/Cargo.lock", "fib/abi/src"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };

    let linker = find_linker().ok_or(format!("bpf-linker is not installed; {ADVICE}"))?;
    let toolchains = Toolchain::find(target);
    if toolchains.is_empty() {
        return Err(format!(
            "neither a nightly Rust toolchain with rust-src nor Debian's rustc with \
             libstd-rust-web-dev-bpf is installed; {ADVICE}"
        ));
    }
    let mut failures = Vec::new();
    for toolchain in toolchains {
        match toolchain.build(&root.join("fib-ebpf"), &out.join("fib-ebpf"), target, &linker) {
            Ok(object) => {
                return fs::copy(&object, out.join(OBJECT))
                    .map(|_| ())
                    .map_err(|error| format!("cannot copy {}: {error}", object.display()));
            }
            Err(failure) => failures.push(format!("with {}:\n{failure}", toolchain.name())),
        }
    }
    Err(failures.join("\n"))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("environment variable {name}: {error}"))
}

/// `bpf-linker` from the path, or from where `cargo install` puts it.
fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .chain(home.map(|home| home.join("bin")))
        .map(|directory| directory.join("bpf-linker"))
        .find(|linker| linker.is_file())
}

/// A way to compile for eBPF.
enum Toolchain {
    /// A rustup toolchain that has the source of `core`.
    Nightly,
    /// A rustc that has `core` precompiled.
    Precompiled(PathBuf),
}

impl Toolchain {
    /// The ones that are installed, the usual one first.
    fn find(target: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let sysroot = output(
            Command::new("rustup")
                .args(["run", "nightly", "rustc", "--print", "sysroot"])
                .env("RUSTUP_AUTO_INSTALL", "0"),
        );
        let source = "lib/rustlib/src/rust/library/core/Cargo.toml";
        if sysroot.is_some_and(|sysroot| Path::new(&sysroot).join(source).is_file()) {
            found.push(Self::Nightly);
        }
        let rustc = PathBuf::from("/usr/bin/rustc");
        let libraries = output(
            Command::new(&rustc)
                .args(["--print", "target-libdir", "--target", target])
                .env("RUSTC_BOOTSTRAP", "1"),
        );
        let has_core = |directory: &str| {
            fs::read_dir(directory).is_ok_and(|entries| {
                entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
            })
        };
        if libraries.is_some_and(|directory| has_core(&directory)) {
            found.push(Self::Precompiled(rustc));
        }
        found
    }

    fn name(&self) -> String {
        match self {
            Self::Nightly => "the nightly toolchain".to_owned(),
            Self::Precompiled(rustc) => rustc.display().to_string(),
        }
    }

    /// Builds the object; the compiler's own words if it fails.
    fn build(&self, source: &Path, out: &Path, target: &str, linker: &Path) -> Result<PathBuf, String> {
        let mut command = match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command
            }
            Self::Precompiled(_) => Command::new(env::var_os("CARGO").unwrap_or("cargo".into())),
        };
        for inherited in [
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "CARGO",
            "CARGO_BUILD_TARGET",
            "CARGO_BUILD_RUSTC",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_MAKEFLAGS",
            "CARGO_TARGET_DIR",
            "MAKEFLAGS",
            "CLIPPY_ARGS",
            "TARGET",
        ] {
            command.env_remove(inherited);
        }
        command.args(["build", "--release", "--locked", "--target", target]);
        command.arg("--target-dir").arg(out).current_dir(source);
        if let Self::Precompiled(rustc) = self {
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        } else {
            command.arg("-Zbuild-std=core");
        }
        let flags = [&format!("-Clinker={}", linker.display()), "-Clink-arg=--btf"];
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));

        let result = command.output().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !result.status.success() {
            return Err(String::from_utf8_lossy(&result.stderr).into_owned());
        }
        Ok(out.join(target).join("release").join(OBJECT))
    }
}

/// What a command prints, trimmed, if it runs and succeeds.
fn output(command: &mut Command) -> Option<String> {
    let result = command.output().ok()?;
    let text = String::from_utf8(result.stdout).ok()?;
    result.status.success().then(|| text.trim().to_owned())
}
