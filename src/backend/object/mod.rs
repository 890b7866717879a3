//! A repository in a bucket of an S3 store; the only folder that knows opendal, HTTP and tokio.
//!
//! opendal speaks S3 (list, read, stat, write, multipart); `store` carries its requests; `bucket` has the
//! few it lacks. Callers are plain threads: each waits in its own call while two workers of a small runtime
//! move the bytes. There is no retry here, that is a decorator's; `hedge` asks a second time for a read that
//! is slow. Deleting a file that is not there succeeds, as S3 has it: finding out would cost a request for each.

mod address;
mod bucket;
mod credentials;
mod failure;
mod hedge;
mod options;
mod proxy;
mod store;
mod tls;
mod wire;
mod xml;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use futures_core::Stream;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{BytesRange, HttpTransporter, OperationContext, Operator, services};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

use self::failure::Failure;
use self::hedge::Class;
pub use self::hedge::HedgeCount;
pub use self::options::{
    Addressing, AssumeRole, CONTAINER_METADATA, ContainerCredentials, CredentialSources, INSTANCE_METADATA,
    ObjectOptions, Proxies, StaticKeys, Timeouts, WebIdentity,
};
use self::store::{Bridge, Store};
use super::layout::{is_file_name, path_of};
use super::{Backend, BackendErrorKind, BackendResult, FileType, Listed};
use crate::error::{Error, Result as AnyResult};

/// How many parts of one file are sent at once.
const PARTS_AT_ONCE: usize = 4;

/// A repository in a bucket.
pub struct ObjectBackend {
    inner: Inner,
    handle: Handle,
    /// Taken out on drop, so that requests under way are not waited for.
    runtime: Option<Runtime>,
}

/// A client for who is no store and may stand anywhere: it trusts public authorities and the given ones.
///
/// # Errors
/// Usage: certificates or proxies that make no sense.
pub fn side_client(options: &ObjectOptions) -> AnyResult<reqwest::Client> {
    tls::token_client(options)
}

impl ObjectBackend {
    /// Checks the options and sets up the clients. The network is not touched before the first request.
    ///
    /// # Errors
    /// Usage: endpoint, bucket, certificates or proxies that make no sense.
    pub fn open(options: ObjectOptions) -> AnyResult<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("object-store")
            .enable_all()
            .build()
            .map_err(|error| Error::usage("cannot start the network threads").because(error))?;
        let handle = runtime.handle().clone();
        Ok(Self { inner: Inner::new(options)?, handle, runtime: Some(runtime) })
    }

    fn run<T>(
        &self,
        operation: &'static str,
        path: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> BackendResult<T> {
        self.handle.block_on(work).map_err(|failure| failure.at(operation, path))
    }
}

impl Drop for ObjectBackend {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Backend for ObjectBackend {
    fn location(&self) -> String {
        let address = &self.inner.store.address;
        let prefix = self.inner.prefix.trim_end_matches('/');
        let location = format!("s3:{}/{}/{prefix}", address.endpoint(), address.bucket);
        location.trim_end_matches('/').to_owned()
    }

    fn connections(&self) -> usize {
        self.inner.options.connections
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        self.run("list", kind.folder(), self.inner.list(kind))
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        let path = path_of(kind, name);
        self.run("stat", &path, self.inner.stat(&path))
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        let path = path_of(kind, name);
        let ask = || self.inner.read(&path);
        self.run("read", &path, self.inner.store.hedge.read(Class::Whole(kind), ask))
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        let path = path_of(kind, name);
        let ask = || self.inner.read_range(&path, offset, length);
        self.run("read", &path, self.inner.store.hedge.read(Class::of_range(length), ask))
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        let path = path_of(kind, name);
        self.run("write", &path, self.inner.write(kind, &path, data, false))
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        let path = path_of(kind, name);
        self.run("write", &path, self.inner.write_new(kind, &path, data))
    }

    /// Deletes a file. A file that is not there is no error here.
    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        let path = path_of(kind, name);
        self.run("delete", &path, self.inner.delete(&path))
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        let paths: Vec<_> = names.iter().map(|name| path_of(kind, name)).collect();
        let mut results = Vec::with_capacity(paths.len());
        for batch in paths.chunks(bucket::BATCH_KEYS) {
            let done = self.handle.block_on(self.inner.delete_batch(batch));
            results.extend(
                done.into_iter()
                    .zip(batch)
                    .map(|(result, path)| result.map_err(|failure| failure.at("delete", path))),
            );
        }
        results
    }

    fn create(&self) -> BackendResult<()> {
        self.run("create", &self.inner.store.address.bucket, async {
            if bucket::exists(&self.inner.store).await? {
                Ok(())
            } else {
                bucket::create(&self.inner.store).await
            }
        })
    }
}

/// What the store is known to do with `If-None-Match`.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Condition {
    Unknown,
    Honoured,
    /// Refused, or ignored without a word.
    Absent,
}

/// The part that is asynchronous.
struct Inner {
    options: ObjectOptions,
    /// In front of every key: empty, or ending with `/`.
    prefix: String,
    store: Arc<Store>,
    /// For packs: with the storage class.
    packs: Operator,
    files: Operator,
    condition: AtomicU8,
}

impl Inner {
    fn new(options: ObjectOptions) -> AnyResult<Self> {
        let store = Arc::new(Store::new(&options)?);
        let prefix = options.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let files = operator(&options, &store, None)?;
        let packs = operator(&options, &store, options.storage_class.as_deref())?;
        let condition = AtomicU8::new(Condition::Unknown as u8);
        Ok(Self { options, prefix, store, packs, files, condition })
    }

    async fn list(&self, kind: FileType) -> Result<Vec<Listed>, Failure> {
        if kind == FileType::Config {
            return match self.stat(kind.folder()).await {
                Ok(bytes) => Ok(vec![Listed { name: kind.folder().to_owned(), bytes, modified: None }]),
                Err(failure) if failure.kind == BackendErrorKind::NotFound => Ok(Vec::new()),
                Err(failure) => Err(failure),
            };
        }
        let options = ListOptions { recursive: kind == FileType::Pack, ..ListOptions::default() };
        let mut lister = self.files.lister_options(&format!("{}/", kind.folder()), options).await?;
        let mut files = Vec::new();
        while let Some(entry) = std::future::poll_fn(|context| Pin::new(&mut lister).poll_next(context)).await
        {
            let entry = entry?;
            let (name, metadata) = (entry.name(), entry.metadata());
            if is_file_name(name) && entry.path() == path_of(kind, name) {
                let modified = metadata.last_modified().map(jiff::Timestamp::from);
                files.push(Listed { name: name.to_owned(), bytes: metadata.content_length(), modified });
            }
        }
        Ok(files)
    }

    async fn stat(&self, path: &str) -> Result<u64, Failure> {
        Ok(self.files.stat(path).await?.content_length())
    }

    async fn read(&self, path: &str) -> Result<Bytes, Failure> {
        Ok(self.files.read(path).await?.to_bytes())
    }

    async fn read_range(&self, path: &str, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let short = || {
            let cause = format!("the store does not have {length} bytes from offset {offset} on");
            Failure::lasting(BackendErrorKind::Damaged, cause)
        };
        if length == 0 || offset.checked_add(length as u64).is_none() {
            // Neither an empty range nor one beyond 2⁶⁴ can be said in HTTP.
            let bytes = self.stat(path).await?;
            return if bytes < offset { Err(short()) } else { Ok(Bytes::new()) };
        }
        let range = BytesRange::new(offset, Some(length as u64));
        match self.files.read_options(path, ReadOptions { range, ..ReadOptions::default() }).await {
            Ok(data) if data.len() == length => Ok(data.to_bytes()),
            Ok(_) => Err(short()),
            // InvalidRange, or opendal that counts the bytes of the answer.
            Err(error) => match Failure::from(error) {
                Failure { kind: BackendErrorKind::Damaged, temporary: false, .. } => Err(short()),
                failure => Err(failure),
            },
        }
    }

    async fn write(&self, kind: FileType, path: &str, data: &Bytes, new: bool) -> Result<(), Failure> {
        let operator = if kind == FileType::Pack { &self.packs } else { &self.files };
        let mut options = WriteOptions {
            content_type: Some("application/octet-stream".to_owned()),
            if_not_exists: new,
            ..WriteOptions::default()
        };
        if data.len() as u64 > self.options.multipart_threshold_bytes {
            options.chunk = Some(self.options.part_bytes);
            options.concurrent = PARTS_AT_ONCE.min(self.options.connections);
        }
        let mut writer = operator.writer_options(path, options).await?;
        let written = match writer.write(data.clone()).await {
            Ok(()) => writer.close().await.map(drop),
            failed => failed,
        };
        if written.is_err() {
            // Parts that were sent would be paid for until someone cleans up; that it fails changes nothing.
            let _ = writer.abort().await;
        }
        Ok(written?)
    }

    /// See the trait. A store that refuses or ignores the condition is found out, once, by a second write
    /// of the same bytes, which has to fail.
    async fn write_new(&self, kind: FileType, path: &str, data: &Bytes) -> Result<(), Failure> {
        match self.stat(path).await {
            Ok(_) => return Err(exists()),
            Err(failure) if failure.kind == BackendErrorKind::NotFound && !is_bucket(&failure) => {}
            Err(failure) => return Err(failure),
        }
        if self.write_if_absent(kind, path, data).await? {
            return Ok(());
        }
        tokio::time::sleep(self.options.timeouts.settle).await;
        self.is_ours(path, data).await
    }

    /// Writes with `If-None-Match: *` where the store knows it, else without; whether the file is ours for sure.
    async fn write_if_absent(&self, kind: FileType, path: &str, data: &Bytes) -> Result<bool, Failure> {
        if self.knows(Condition::Absent) {
            return self.write(kind, path, data, false).await.map(|()| false);
        }
        match self.write(kind, path, data, true).await {
            Ok(()) if self.knows(Condition::Honoured) => Ok(true),
            Ok(()) => match self.write(kind, path, data, true).await {
                Err(failure) if failure.kind == BackendErrorKind::Exists => {
                    self.learn(Condition::Honoured);
                    Ok(true)
                }
                Err(failure) if failure.temporary => Err(failure),
                // Refused for another reason, say a policy: nothing was learnt.
                Err(_) => Ok(false),
                Ok(()) => {
                    self.learn(Condition::Absent);
                    Ok(false)
                }
            },
            Err(failure) if failure.is_not_implemented() => {
                self.learn(Condition::Absent);
                self.write(kind, path, data, false).await.map(|()| false)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn is_ours(&self, path: &str, data: &Bytes) -> Result<(), Failure> {
        if self.read(path).await? == *data { Ok(()) } else { Err(exists()) }
    }

    fn knows(&self, condition: Condition) -> bool {
        self.condition.load(Ordering::Relaxed) == condition as u8
    }

    fn learn(&self, condition: Condition) {
        self.condition.store(condition as u8, Ordering::Relaxed);
    }

    async fn delete(&self, path: &str) -> Result<(), Failure> {
        Ok(self.files.delete(path).await?)
    }

    /// Deletes at most [`bucket::BATCH_KEYS`] files, one by one where the store knows no other way.
    async fn delete_batch(&self, paths: &[String]) -> Vec<Result<(), Failure>> {
        let keys: Vec<_> = paths.iter().map(|path| format!("{}{path}", self.prefix)).collect();
        match bucket::delete(&self.store, &keys).await {
            Ok(mut failures) => keys.iter().map(|key| failures.remove(key).map_or(Ok(()), Err)).collect(),
            Err(failure) if failure.kind == BackendErrorKind::Other => self.delete_singly(paths).await,
            Err(failure) => paths.iter().map(|_| Err(failure.clone())).collect(),
        }
    }

    async fn delete_singly(&self, paths: &[String]) -> Vec<Result<(), Failure>> {
        let slots = Arc::new(Semaphore::new(self.options.connections.max(1)));
        let tasks: Vec<_> = paths
            .iter()
            .map(|path| {
                let (slots, files, path) = (Arc::clone(&slots), self.files.clone(), path.clone());
                tokio::spawn(async move {
                    let _slot = slots.acquire().await;
                    files.delete(&path).await.map_err(Failure::from)
                })
            })
            .collect();
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            let joined = task.await;
            results.push(joined.unwrap_or_else(|error| {
                Err(Failure::lasting(BackendErrorKind::Other, format!("the delete was cut short: {error}")))
            }));
        }
        results
    }
}

fn operator(options: &ObjectOptions, store: &Arc<Store>, storage_class: Option<&str>) -> AnyResult<Operator> {
    let mut builder = services::S3::default()
        .endpoint(store::ENDPOINT)
        .bucket(store::BUCKET)
        .region(address::FALLBACK_REGION)
        .root(&options.prefix)
        .skip_signature()
        .disable_config_load()
        .disable_ec2_metadata()
        .default_storage_class(storage_class.unwrap_or_default());
    builder = match options.sse.as_deref().map(|sse| (sse, sse.strip_prefix("aws:kms:"))) {
        Some((_, Some(key))) => builder.server_side_encryption_with_customer_managed_kms_key(key),
        Some((sse, None)) => builder.server_side_encryption(sse),
        None => builder,
    };
    let operator = Operator::new(builder)
        .map_err(|error| Error::usage("invalid S3 options").because(error.message()))?;
    let transport = HttpTransporter::new(Bridge(Arc::clone(store)));
    Ok(operator.with_context(OperationContext::new().with_http_transport(transport)))
}

fn exists() -> Failure {
    Failure::lasting(BackendErrorKind::Exists, "the file exists already")
}

fn is_bucket(failure: &Failure) -> bool {
    failure.code == "NoSuchBucket"
}
