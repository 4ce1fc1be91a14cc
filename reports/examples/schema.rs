//! Prints the schema of `summary.json`: `cargo run -p corral-reports --example schema >reports/schema/summary.json`.

fn main() {
    print!("{}", corral_reports::Night::schema());
}
