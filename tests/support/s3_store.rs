//! The buckets of the in-process S3 server, in memory, atomic: what `s3s` calls when a signature is right.
//!
//! As strict as the stores it stands for: conditional writes, digests, part sizes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::{Conditions, Profile};

type Answer<T> = S3Result<S3Response<T>>;

/// One stored object.
#[derive(Clone)]
pub struct Stored {
    /// The content.
    pub data: Bytes,
    /// `Content-Type` of the write.
    pub content_type: Option<String>,
    /// `x-amz-storage-class` of the write.
    pub storage_class: Option<String>,
    /// `x-amz-server-side-encryption` of the write.
    pub sse: Option<String>,
    /// How many parts it was written in; 0: a single PUT.
    pub parts: usize,
    modified: std::time::SystemTime,
}

#[derive(Default)]
struct Upload {
    key: String,
    template: Option<Stored>,
    parts: BTreeMap<i32, Bytes>,
}

/// All that is stored.
#[derive(Default)]
pub struct Contents {
    /// Bucket → key → object.
    pub buckets: BTreeMap<String, BTreeMap<String, Stored>>,
    uploads: BTreeMap<String, Upload>,
    next_upload: u64,
}

impl Contents {
    /// Multipart uploads that were neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.uploads.len()
    }
}

pub(super) struct Memory {
    pub(super) profile: Profile,
    pub(super) contents: Arc<Mutex<Contents>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<Stored> {
        let contents = self.lock();
        let objects = contents.buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }

    async fn body(&self, body: Option<StreamingBlob>, md5: Option<&str>) -> S3Result<Bytes> {
        let data = collect(body).await?;
        match md5 {
            Some(md5) if md5 == BASE64_STANDARD.encode(Md5::digest(&data)) => Ok(data),
            Some(_) => Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match")),
            None if self.profile.wants_md5 => Err(s3_error!(InvalidRequest, "Content-MD5 is required")),
            None => Ok(data),
        }
    }

    fn put(&self, bucket: &str, key: String, stored: Stored, only_new: bool) -> S3Result<()> {
        if only_new && self.profile.conditions == Conditions::Refused {
            return Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented"
            ));
        }
        let mut contents = self.lock();
        let objects = contents.buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        if only_new && self.profile.conditions == Conditions::Honoured && objects.contains_key(&key) {
            return Err(s3_error!(PreconditionFailed));
        }
        objects.insert(key, stored);
        Ok(())
    }

    fn page(&self, bucket: &str, prefix: &str, delimiter: &str, after: &str, max: usize) -> S3Result<Page> {
        let contents = self.lock();
        let objects = contents.buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let mut page = Page::default();
        for (key, object) in objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix))
        {
            let folder = (!delimiter.is_empty())
                .then(|| {
                    key[prefix.len()..].find(delimiter).map(|at| &key[..prefix.len() + at + delimiter.len()])
                })
                .flatten();
            let item = folder.unwrap_or(key);
            if item <= after || page.prefixes.last().is_some_and(|last| last == item) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == max {
                page.truncated = true;
                break;
            }
            item.clone_into(&mut page.last);
            match folder {
                Some(folder) => page.prefixes.push(folder.to_owned()),
                None => page.objects.push(Object {
                    key: Some(key.clone()),
                    size: Some(object.data.len() as i64),
                    last_modified: Some(object.modified.into()),
                    e_tag: Some(e_tag(&object.data)),
                    ..Object::default()
                }),
            }
        }
        Ok(page)
    }

    fn max(&self, asked: Option<i32>) -> usize {
        usize::try_from(asked.unwrap_or(1000)).unwrap_or(1000).min(self.profile.page_keys)
    }
}

#[derive(Default)]
struct Page {
    objects: Vec<Object>,
    prefixes: Vec<String>,
    last: String,
    truncated: bool,
}

#[async_trait::async_trait]
impl S3 for Memory {
    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> Answer<GetBucketLocationOutput> {
        if !self.profile.tells_location {
            return Err(s3_error!(NotImplemented, "GetBucketLocation not implemented"));
        }
        if !self.lock().buckets.contains_key(&request.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let region = self.profile.region.to_owned();
        let location_constraint = (region != "us-east-1").then(|| BucketLocationConstraint::from(region));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        let known = self.lock().buckets.contains_key(&request.input.bucket);
        if known { Ok(S3Response::new(HeadBucketOutput::default())) } else { Err(s3_error!(NoSuchBucket)) }
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        let wanted = request.input.create_bucket_configuration.and_then(|it| it.location_constraint);
        let wanted = wanted.as_ref().map_or("us-east-1", |it| it.as_str());
        if self.profile.tells_location && wanted != self.profile.region {
            return Err(s3_error!(InvalidLocationConstraint));
        }
        let mut contents = self.lock();
        if contents.buckets.contains_key(&request.input.bucket) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        contents.buckets.insert(request.input.bucket, BTreeMap::new());
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after).unwrap_or_default();
        let delimiter = input.delimiter.clone().unwrap_or_default();
        let page = self.page(&input.bucket, &prefix, &delimiter, &after, self.max(input.max_keys))?;
        let prefixes = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            is_truncated: Some(page.truncated),
            next_continuation_token: page.truncated.then_some(page.last),
            contents: Some(page.objects),
            common_prefixes: Some(prefixes.collect()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimiter = input.delimiter.clone().unwrap_or_default();
        let after = input.marker.clone().unwrap_or_default();
        let page = self.page(&input.bucket, &prefix, &delimiter, &after, self.max(input.max_keys))?;
        let prefixes = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(page.truncated),
            next_marker: page.truncated.then_some(page.last),
            contents: Some(page.objects),
            common_prefixes: Some(prefixes.collect()),
            ..ListObjectsOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let object = self.object(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(object.data.len() as i64),
            last_modified: Some(object.modified.into()),
            e_tag: Some(e_tag(&object.data)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let object = self.object(&request.input.bucket, &request.input.key)?;
        let whole = object.data.len() as u64;
        let mut output = GetObjectOutput {
            last_modified: Some(object.modified.into()),
            e_tag: Some(e_tag(&object.data)),
            ..GetObjectOutput::default()
        };
        let mut data = object.data;
        if let Some(range) = request.input.range {
            let range = range.check(whole)?;
            output.content_range = Some(format!("bytes {}-{}/{whole}", range.start, range.end - 1));
            data = data.slice(range.start as usize..range.end as usize);
        }
        output.content_length = Some(data.len() as i64);
        output.body = Some(StreamingBlob::from(s3s::Body::from(data)));
        Ok(S3Response::new(output))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let input = request.input;
        let only_new = input.if_none_match.as_ref().is_some_and(ETagCondition::is_any);
        let data = self.body(input.body, input.content_md5.as_deref()).await?;
        let e_tag = Some(e_tag(&data));
        let stored = Stored {
            data,
            content_type: input.content_type,
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            sse: input.server_side_encryption.map(|sse| sse.as_str().to_owned()),
            parts: 0,
            modified: std::time::SystemTime::now(),
        };
        self.put(&input.bucket, input.key, stored, only_new)?;
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let mut contents = self.lock();
        let objects =
            contents.buckets.get_mut(&request.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        objects.remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        if !self.profile.deletes_many {
            return Err(s3_error!(NotImplemented));
        }
        let mut contents = self.lock();
        let objects =
            contents.buckets.get_mut(&request.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let mut output = DeleteObjectsOutput::default();
        for named in request.input.delete.objects {
            if self.profile.undeletable.is_some_and(|part| named.key.contains(part)) {
                output.errors.get_or_insert_default().push(Error {
                    code: Some("AccessDenied".to_owned()),
                    key: Some(named.key),
                    ..Error::default()
                });
            } else {
                objects.remove(&named.key);
            }
        }
        Ok(S3Response::new(output))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        let mut contents = self.lock();
        contents.next_upload += 1;
        let id = format!("upload-{}", contents.next_upload);
        let template = Stored {
            data: Bytes::new(),
            content_type: input.content_type,
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            sse: input.server_side_encryption.map(|sse| sse.as_str().to_owned()),
            parts: 0,
            modified: std::time::SystemTime::now(),
        };
        let upload = Upload { key: input.key.clone(), template: Some(template), parts: BTreeMap::new() };
        contents.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let input = request.input;
        let data = self.body(input.body, input.content_md5.as_deref()).await?;
        let e_tag = Some(e_tag(&data));
        let mut contents = self.lock();
        let upload = contents.uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, data);
        Ok(S3Response::new(UploadPartOutput { e_tag, ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let only_new = input.if_none_match.as_ref().is_some_and(ETagCondition::is_any);
        let upload = self.lock().uploads.remove(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|it| it.parts).unwrap_or_default();
        let mut parts = Vec::new();
        for part in named {
            let found = part.part_number.and_then(|number| upload.parts.get(&number));
            parts.push(found.cloned().ok_or_else(|| s3_error!(InvalidPart))?);
        }
        let lengths: Vec<_> = parts.iter().map(Bytes::len).collect();
        let (last, before) = lengths.split_last().ok_or_else(|| s3_error!(InvalidPart))?;
        let equal = before.iter().all(|length| Some(length) == before.first() && last <= length);
        if self.profile.equal_parts && !equal {
            return Err(s3_error!(InvalidPart, "All non-trailing parts must have the same length"));
        }
        let mut stored = upload.template.unwrap();
        stored.parts = parts.len();
        stored.data = parts.concat().into();
        let e_tag = Some(e_tag(&stored.data));
        self.put(&input.bucket, upload.key.clone(), stored, only_new)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(upload.key),
            e_tag,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        self.lock().uploads.remove(&request.input.upload_id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

fn e_tag(data: &[u8]) -> ETag {
    let digits = |byte: u8| [byte >> 4, byte & 15].map(|nibble| char::from_digit(nibble.into(), 16).unwrap());
    ETag::Strong(Md5::digest(data).into_iter().flat_map(digits).collect())
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    let mut data = Vec::new();
    while let Some(chunk) =
        std::future::poll_fn(|context| futures_core::Stream::poll_next(Pin::new(&mut body), context)).await
    {
        data.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(data.into())
}
