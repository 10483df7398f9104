# Shortcuts. Each recipe is the plain command it prints, so nothing here needs `just`.

# The list of recipes
default:
    @just --list

# The tests, as the README has them
test:
    cargo test --workspace

# What a reviewer should not have to say: formatting, lints, broken links in the documentation
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace

# Show that one of the README's promises holds, for example `just prove all` or `just prove all --short`
prove NAME *FLAGS:
    cargo run --release -p quivive-testkit --bin prove -- {{ FLAGS }} {{ NAME }}

# Measure against limits taken in the same run; without a name, everything
bench *NAMES:
    cargo run --release -p bench -- {{ NAMES }}

# The whole gate, as it runs for every change
ci:
    bash .ci/run
