//! Against a registry that others wrote: the one that Debian packages, on a port that the kernel
//! picks, with its content in a temporary folder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dhow_distribution::{Class, Client, Credentials, Keyring, Login, Pushed};
use dhow_spec::image::{Descriptor, Family, Index, Manifest, MediaType};
use dhow_spec::{Digest, Platform, Reference, Repository};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::memory::Content;
use crate::program::Registry;
use crate::support::*;

/// "pass word", as cheap to check as bcrypt can be.
const ANN: &str = "ann:$2y$04$jgc9Ob8vPwLlSxJrEfZUiO1kyOo0hu1DC8DMEaTExUuCYxf82VnnK\n";

/// An image of these layers: its manifest, and its blobs.
fn image(layers: &[Vec<u8>]) -> (Manifest, Vec<Vec<u8>>) {
    let mut content = Content::default();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let manifest = add_image(&mut content, &Platform::new("linux", "amd64", ""), &layers);
    (manifest, content.blobs.into_values().collect())
}

async fn push_all(client: &Client, to: &Repository, blobs: &[Vec<u8>]) -> Vec<Pushed> {
    let mut tasks = tokio::task::JoinSet::new();
    for blob in blobs {
        let (client, to, mut source) = (client.clone(), to.clone(), Pieces::new(blob));
        tasks.spawn(async move {
            let layer = layer_of(&source.bytes);
            client.push(&to, &layer, None, &mut source, &()).await.expect("a push")
        });
    }
    tasks.join_all().await
}

async fn publish(client: &Client, name: &Reference, manifest: &Manifest) -> Descriptor {
    let kind = MediaType::Manifest(Family::Oci);
    client.push_manifest(name, &kind, manifest.to_json().into(), &()).await.expect("a push")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_registry_takes_and_gives() {
    let Some(registry) = Registry::start("debians_registry_takes_and_gives", None) else { return };
    let (client, to) = (client(), repository(&registry.name("some/image")));
    let layers = [noise(5_000_000), noise(2_000_001), noise(30)];
    let (manifest, blobs) = image(&layers);
    assert_eq!(push_all(&client, &to, &blobs).await, [Pushed::Uploaded; 4]);
    assert_eq!(push_all(&client, &to, &blobs).await, [Pushed::Existed; 4]);
    let other = repository(&registry.name("another"));
    let layer = layer_of(&layers[0]);
    let mut source = Pieces::new(&layers[0]);
    let pushed = client.push(&other, &layer, Some(&to), &mut source, &()).await.expect("a mount");
    assert_eq!((pushed, source.read), (Pushed::Mounted, 0));

    let name = reference(&format!("{to}:v1"));
    let pushed = publish(&client, &name, &manifest).await;
    assert_eq!(client.resolve(&name, &()).await.expect("a target"), pushed);
    let index = {
        let mut entry = pushed.clone();
        entry.platform = Some(platform("linux/amd64"));
        Index::new(vec![entry]).to_json()
    };
    let many = reference(&format!("{to}:many"));
    let kind = MediaType::Index(Family::Oci);
    client.push_manifest(&many, &kind, index.clone().into(), &()).await.expect("an index");
    let (matcher, wanted) = (matcher("linux/amd64"), platform("linux/amd64"));
    let pulled = client.image(&many, &matcher, &wanted, &()).await.expect("an image");
    assert_eq!((pulled.path[0].bytes.as_ref(), &pulled.manifest), (index.as_bytes(), &manifest));
    for (layer, bytes) in manifest.layers.iter().zip(&layers) {
        let mut kept = Kept::with(&bytes[..bytes.len() / 3]);
        client.fetch(&to, layer, &mut kept, &()).await.expect("a layer");
        assert!(kept.bytes == *bytes && kept.is_finished && kept.rewinds == 0);
    }
    let mut tags = client.tags(&to, &()).await.expect("tags");
    tags.sort();
    assert_eq!(tags, ["many", "v1"]);
    let all = client.catalog(&registry.address.to_string(), &()).await.expect("a list");
    assert_eq!(all, ["another", "some/image"]);

    let error = client.manifest(&reference(&format!("{to}:v2")), &()).await.expect_err("nothing");
    let text = format!("manifest for {to}:v2 not found: manifest unknown: manifest unknown");
    assert_eq!(error.to_string(), text);
    let error =
        client.tags(&repository(&registry.name("nothing")), &()).await.expect_err("nothing");
    assert_eq!(error.class(), Class::NotFound);
}

#[tokio::test]
async fn debians_registry_keeps_and_forgets_what_is_about_something() {
    let test = "debians_registry_keeps_and_forgets_what_is_about_something";
    let Some(registry) = Registry::start(test, None) else { return };
    let (client, to) = (client(), repository(&registry.name("a")));
    let (manifest, blobs) = image(&[b"layer".to_vec()]);
    push_all(&client, &to, &blobs).await;
    let subject =
        publish(&client, &Reference::tagged(to.clone(), dhow_spec::Tag::latest()), &manifest).await;
    let mut signature = manifest.clone();
    signature.subject = Some(subject.clone());
    signature.artifact_type = Some(MediaType::parse("text/signature").expect("a type"));
    let digest: Digest = digest_of(signature.to_json().as_bytes());
    let name = Reference::pinned(to.clone(), digest);
    publish(&client, &name, &signature).await;
    let about = client.referrers(&to, subject.digest, None, &()).await.expect("a list");
    assert_eq!(about.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [digest]);
    client.delete_manifest(&name, &()).await.expect("a removal");
    assert_eq!(client.referrers(&to, subject.digest, None, &()).await.expect("a list"), []);
    assert_eq!(client.manifest(&name, &()).await.expect_err("gone").class(), Class::NotFound);
    client.delete_blob(&to, manifest.layers[0].digest, &()).await.expect("a removal");
    assert!(!client.has_blob(&to, manifest.layers[0].digest).await.expect("an answer"));
}

#[tokio::test]
async fn debians_registry_asks_who_we_are() {
    let test = "debians_registry_asks_who_we_are";
    let Some(registry) = Registry::start(test, Some(ANN)) else { return };
    let (host, to) = (registry.address.to_string(), repository(&registry.name("a")));
    let password = |password: &str| Credentials::Password {
        username: "ann".to_owned(),
        password: password.to_owned(),
    };
    let ann = client().with_credentials(Keyring::of(&host, password("pass word")));
    assert_eq!(ann.login(&host).await.expect("a login"), Login::Accepted);
    let (manifest, blobs) = image(&[noise(100_000)]);
    push_all(&ann, &to, &blobs).await;
    let name = Reference::tagged(to.clone(), dhow_spec::Tag::latest());
    publish(&ann, &name, &manifest).await;
    ann.manifest(&name, &()).await.expect("a manifest");
    let wrong = client().with_credentials(Keyring::of(&host, password("wrong")));
    assert_eq!(wrong.login(&host).await.expect_err("wrong").class(), Class::Unauthorized);
    let error = client().manifest(&name, &()).await.expect_err("nobody");
    let text = format!("unauthorized: authentication required ({name}: run 'dhow login {host}')");
    assert_eq!(error.to_string(), text);
}

/// Lets so many bytes through towards the registry, then cuts the connection; three times.
async fn unsteady(to: SocketAddr, budget: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let cuts = Arc::new(AtomicU64::new(3));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let cuts = cuts.clone();
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(to).await else { return };
                let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                    (near.split(), far.split());
                let up = async {
                    let mut sent = 0;
                    let mut buffer = vec![0; 16 << 10];
                    loop {
                        let Ok(count @ 1..) = near_in.read(&mut buffer).await else { return };
                        sent += count as u64;
                        let left = cuts.load(Ordering::SeqCst);
                        if sent > budget && left > 0 {
                            cuts.store(left - 1, Ordering::SeqCst);
                            return;
                        }
                        if far_out.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                };
                let down = tokio::io::copy(&mut far_in, &mut near_out);
                tokio::select! { () = up => {}, _ = down => {} }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_registry_over_an_unsteady_line() {
    let test = "debians_registry_over_an_unsteady_line";
    let Some(registry) = Registry::start(test, None) else { return };
    let line = unsteady(registry.address, 1 << 20).await;
    let (client, bytes, diary) = (client(), noise(5_000_000), Diary::default());
    let (to, layer) = (repository(&format!("{line}/a")), layer_of(&bytes));
    let mut source = Pieces::new(&bytes);
    client.push(&to, &layer, None, &mut source, &diary).await.expect("a push");
    assert_eq!(diary.lines("retrying").len(), 3, "{:?}", diary.lines("retrying"));
    // This registry keeps what had arrived, but lets nobody go on behind it (its sessions carry an
    // offset that only an answer renews): every cut means a new session.
    assert!(source.read > 3 << 20, "{}", source.read);
    let mut kept = Kept::default();
    client.fetch(&repository(&registry.name("a")), &layer, &mut kept, &()).await.expect("a blob");
    assert!(kept.bytes == bytes);
}
