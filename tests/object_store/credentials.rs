//! Every way to get keys, each from a stub of the service that hands them out; the S3 server takes no others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use volmover::backend::object::{AssumeRole, ContainerCredentials, CredentialSources, WebIdentity};

use super::stub::{Stub, answer};
use super::*;
use crate::support::scratch;

#[test]
fn wrong_keys_are_denied_and_never_shown() {
    let server = S3Server::start(Profile::plain());
    for (access, secret, code) in [
        (ACCESS_KEY, "wrong-secret", "SignatureDoesNotMatch"),
        ("AKIAUNKNOWN", "other-secret", "InvalidAccessKeyId"),
    ] {
        let mut wrong = options(&server);
        wrong.credentials.static_keys = keys(access, secret);
        let backend = open(wrong);
        for error in [
            backend.list(FileType::Key).unwrap_err(),
            backend.read(FileType::Config, "").unwrap_err(),
            backend.write(FileType::Key, NAME, &data("x")).unwrap_err(),
        ] {
            assert_eq!((error.kind, error.temporary), (Kind::Denied, false), "{error}");
            assert!(error.cause.starts_with(&format!("the store denied access: {code}")), "{error}");
            assert!(!error.to_string().contains(secret) && !error.to_string().contains(SECRET_KEY));
        }
    }
    let mut none = options(&server);
    none.credentials = CredentialSources::default();
    let error = open(none).list(FileType::Key).unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.cause.starts_with("no credentials found"), "{error}");
}

/// Keys that the server knows under the name of a source; a request signed with others is refused.
fn only(server: &S3Server, source: &str) -> (String, String, String) {
    let (access, secret, token) =
        (format!("ASIA{source}"), format!("secret of {source}"), format!("token of {source}"));
    server.add_key(&access, &secret, Some(&token));
    (access, secret, token)
}

fn sources(server: &S3Server, sources: CredentialSources) -> ObjectBackend {
    open(ObjectOptions { credentials: sources, ..options(server) })
}

fn sts_answer(action: &str, (access, secret, token): &(String, String, String)) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    )
}

fn json_answer((access, secret, token): &(String, String, String), expires: &str) -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{access}","SecretAccessKey":"{secret}","Token":"{token}","Expiration":"{expires}"}}"#
    )
}

fn works_with(server: &S3Server, backend: &ObjectBackend, access: &str) {
    backend.write(FileType::Key, NAME, &data("x")).unwrap();
    assert!(server.log().iter().all(|line| line.ends_with(access)), "{:?}", server.log());
}

#[test]
fn keys_of_a_web_identity() {
    let server = S3Server::start(Profile::plain());
    let given = only(&server, "WEB");
    let reply = sts_answer("AssumeRoleWithWebIdentity", &given);
    let sts = Stub::start(move |request| {
        let wanted = [
            "Action=AssumeRoleWithWebIdentity",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr",
            "WebIdentityToken=jwt.of.pod",
        ];
        let right =
            wanted.iter().all(|part| request.body.contains(part)) && !request.head.contains("uthorization");
        if right {
            answer("200 OK", &reply)
        } else {
            answer("400 x", "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>")
        }
    });
    let folder = scratch();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "jwt.of.pod\n").unwrap();
    let identity = |token_file: PathBuf| CredentialSources {
        web_identity: Some(WebIdentity {
            token_file,
            role_arn: "arn:aws:iam::1:role/r".to_owned(),
            session_name: None,
            sts_endpoint: Some(sts.url()),
        }),
        ..CredentialSources::default()
    };
    works_with(&server, &sources(&server, identity(token_file.clone())), &given.0);
    std::fs::write(&token_file, "another").unwrap();
    let error = sources(&server, identity(token_file.clone())).list(FileType::Key).unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.cause.contains("web identity: the store denied access: InvalidIdentityToken"), "{error}");
    let error = sources(&server, identity(folder.path().join("none"))).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("cannot read the web identity token"), "{error}");
}

#[test]
fn keys_of_an_assumed_role() {
    let server = S3Server::start(Profile::plain());
    let given = only(&server, "ROLE");
    let reply = sts_answer("AssumeRole", &given);
    let sts = Stub::start(move |request| {
        let wanted = ["Action=AssumeRole&", "ExternalId=ext", "RoleSessionName=night", "Policy=%7B%7D"];
        let signed = request.head.contains(&format!("Credential={ACCESS_KEY}/"))
            && request.head.contains("/eu-west-1/sts/aws4_request");
        let right = signed && wanted.iter().all(|part| request.body.contains(part));
        if right {
            answer("200 OK", &reply)
        } else {
            answer("403 x", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
        }
    });
    let role = AssumeRole {
        role_arn: "arn:aws:iam::1:role/backup".to_owned(),
        session_name: Some("night".to_owned()),
        external_id: Some("ext".to_owned()),
        policy: Some("{}".to_owned()),
        region: Some("eu-west-1".to_owned()),
        sts_endpoint: Some(sts.url()),
    };
    let assumed = |role: AssumeRole| CredentialSources {
        static_keys: keys(ACCESS_KEY, SECRET_KEY),
        assume_role: Some(role),
        ..CredentialSources::default()
    };
    works_with(&server, &sources(&server, assumed(role.clone())), &given.0);
    let error =
        sources(&server, assumed(AssumeRole { external_id: None, ..role })).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("assume role: the store denied access: AccessDenied"), "{error}");
}

#[test]
fn keys_of_a_container_are_renewed() {
    let server = S3Server::start(Profile::plain());
    let (old, new) = (only(&server, "OLD"), only(&server, "NEW"));
    let (first, second) =
        (json_answer(&old, "2999-01-01T00:00:00Z"), json_answer(&new, "2999-01-01T00:00:00Z"));
    let asked = AtomicUsize::new(0);
    let stub = Stub::start(move |request| {
        if !request.head.to_lowercase().contains("authorization: bearer of pod") {
            return answer("401 x", "no");
        }
        answer("200 OK", if asked.fetch_add(1, Ordering::Relaxed) == 0 { &first } else { &second })
    });
    let folder = scratch();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "Bearer of pod\n").unwrap();
    let container =
        ContainerCredentials { uri: format!("{}/v1", stub.url()), token: None, token_file: Some(token_file) };
    let container = CredentialSources { container: Some(container), ..CredentialSources::default() };
    let backend = sources(&server, container.clone());
    works_with(&server, &backend, &old.0);
    server.script("PUT", "", 0, 1, Fault::Answer(400, "ExpiredToken"));
    let error = backend.write(FileType::Key, NAME, &data("x")).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::Denied, true), "{error}");
    backend.write(FileType::Key, NAME, &data("x")).unwrap();
    assert!(server.log().last().unwrap().ends_with(&new.0));
    let other = ContainerCredentials {
        token: Some(Zeroizing::new("x".to_owned())),
        token_file: None,
        ..container.container.unwrap()
    };
    let other = CredentialSources { container: Some(other), ..CredentialSources::default() };
    let error = sources(&server, other).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("container credentials: the service answered 401"), "{error}");
}

#[test]
fn keys_of_an_instance() {
    let server = S3Server::start(Profile::plain());
    let given = only(&server, "EC2");
    let reply = json_answer(&given, "2999-01-01T00:00:00Z");
    let stub = Stub::start(move |request| {
        let head = request.head.to_lowercase();
        let has_token = head.contains("x-aws-ec2-metadata-token: session");
        if head.starts_with("put /latest/api/token ") && head.contains("token-ttl-seconds: 21600") {
            answer("200 OK", "session")
        } else if has_token && head.starts_with("get /latest/meta-data/iam/security-credentials/ ") {
            answer("200 OK", "backup-role\n")
        } else if has_token && head.starts_with("get /latest/meta-data/iam/security-credentials/backup-role ")
        {
            answer("200 OK", &reply)
        } else {
            answer("401 x", "")
        }
    });
    let instance =
        |url: String| CredentialSources { instance_metadata: Some(url), ..CredentialSources::default() };
    works_with(&server, &sources(&server, instance(stub.url())), &given.0);
    let silent = Stub::start(|_| None);
    let mut nowhere = ObjectOptions { credentials: instance(silent.url()), ..options(&server) };
    nowhere.timeouts.metadata = Duration::from_millis(200);
    let error = open(nowhere).list(FileType::Key).unwrap_err();
    assert!(error.cause.starts_with("no credentials found"), "{error}");
}

#[test]
fn keys_of_a_file_and_of_minio_in_their_order() {
    let server = S3Server::start(Profile::plain());
    let folder = scratch();
    let path = folder.path().join("credentials");
    std::fs::write(&path, "[default]\naws_access_key_id=FILE\naws_secret_access_key=file secret\n[p]\naws_access_key_id=PROFILE\naws_secret_access_key=p\n").unwrap();
    server.add_key("FILE", "file secret", None);
    server.add_key("PROFILE", "p", None);
    server.add_key("MINIO", "minio secret", None);
    let file = CredentialSources { shared_credentials_file: Some(path), ..CredentialSources::default() };
    let profile = CredentialSources { profile: Some("p".to_owned()), ..file.clone() };
    let minio = CredentialSources { minio: keys("MINIO", "minio secret"), ..file.clone() };
    let all = CredentialSources { static_keys: keys(ACCESS_KEY, SECRET_KEY), ..minio.clone() };
    for (given, access) in [(file, "FILE"), (profile, "PROFILE"), (minio, "MINIO"), (all, ACCESS_KEY)] {
        sources(&server, given).list(FileType::Key).unwrap();
        assert!(server.log().last().unwrap().ends_with(access));
    }
}
