//! Files that are right.

#[test]
fn the_example_of_the_reference_is_right() {
    let configuration = config::parse(include_str!("../src/example.yaml"), "example.yaml").unwrap();
    println!("{configuration:#?}");
}
