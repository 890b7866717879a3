#[path = "support/s3.rs"]
mod s3;
#[test]
fn compiles() { let s = s3::S3Server::start(s3::Profile::plain()); println!("{}", s.endpoint()); }
