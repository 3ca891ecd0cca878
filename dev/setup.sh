# Sourced by dev/demo and dev/test: makes sure that what a build needs is there, or says what is missing.
# Needed: Rust 1.90 or later (cargo) and a C compiler, which compiles the bundled SQLite and zstd.

if ! command -v cargo >/dev/null 2>&1; then
    # A fresh rustup install is found without a new login.
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it with rustup (https://rustup.rs), then run this again." >&2
    exit 1
fi
if ! command -v cc >/dev/null 2>&1 && ! command -v gcc >/dev/null 2>&1 && ! command -v clang >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update -qq && apt-get install -y -qq gcc libc6-dev
    else
        echo "A C compiler is missing: install gcc or clang, then run this again." >&2
        exit 1
    fi
fi
