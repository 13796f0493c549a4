//! Files of endpoints.

use std::fs;
use std::os::unix::fs::symlink;

use super::{endpoints_become, pool, proxy, source_when, tells, told, yaml};
use crate::harness::{Backend, Client, Directory, NameServer, Proxy, Trouble};

/// So long that only the watch can be what saw a change.
const WATCHED: &str = "poll: 1d";

struct Stage {
    directory: Directory,
    server: NameServer,
    backends: [Backend; 3],
}

impl Stage {
    fn new() -> Self {
        Self {
            directory: Directory::new(),
            server: NameServer::start(),
            backends: ["a", "b", "c"].map(Backend::start),
        }
    }

    fn ids(&self, places: &[usize]) -> Vec<String> {
        let places = places.iter();
        places
            .map(|place| self.backends[*place].endpoint())
            .collect()
    }

    fn list(&self, places: &[usize]) -> String {
        let lines = self.ids(places).into_iter();
        lines.map(|id| format!("- \"{id}\"\n")).collect()
    }

    async fn proxy(&self, discovery: &str) -> Proxy {
        let file = self.directory.path().join("list.yaml");
        let keys = format!("endpoints_file: {file:?}");
        proxy(&self.server, &keys, discovery).await
    }

    /// Writes a file beside the list and renames it over it.
    fn replace(&self, list: &str) {
        let new = self.directory.write("list.new", list);
        fs::rename(new, self.directory.path().join("list.yaml")).unwrap();
    }
}

#[tokio::test]
async fn a_file_is_followed_however_it_is_written() {
    let stage = Stage::new();
    stage.directory.write("list.yaml", stage.list(&[0]));
    let proxy = stage.proxy(WATCHED).await;
    endpoints_become(&proxy, &stage.ids(&[0])).await;
    let answer = Client::h1(proxy.address()).await.get("/").await;
    assert_eq!(answer.backend(), Some("a"));

    // Written in place.
    stage.directory.write("list.yaml", stage.list(&[0, 1]));
    endpoints_become(&proxy, &stage.ids(&[0, 1])).await;
    // Replaced, twice: the second file is watched as the first was.
    stage.replace(&stage.list(&[1]));
    endpoints_become(&proxy, &stage.ids(&[1])).await;
    stage.replace(&stage.list(&[1, 2]));
    endpoints_become(&proxy, &stage.ids(&[1, 2])).await;
    // Removed and made again.
    fs::remove_file(stage.directory.path().join("list.yaml")).unwrap();
    tells(&proxy, &["cannot be read", "of 2, stays in force"]).await;
    endpoints_become(&proxy, &stage.ids(&[1, 2])).await;
    stage.directory.write("list.yaml", stage.list(&[0]));
    endpoints_become(&proxy, &stage.ids(&[0])).await;
    assert_eq!(proxy.live().snapshot.load().generation, 1);
    let source = &pool(&proxy).await.sources[0];
    assert_eq!(
        (&*source.kind, source.entries, source.changes),
        ("file", 1, 4)
    );
}

/// As Kubernetes mounts a ConfigMap: the file is a link into `..data`, which is a link to a folder that is swapped.
#[tokio::test]
async fn a_file_behind_links_that_are_swapped_is_followed() {
    let stage = Stage::new();
    let root = stage.directory.path();
    let version = |name: &str, places: &[usize]| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("list.yaml"), stage.list(places)).unwrap();
    };
    let swap = |name: &str| {
        symlink(name, root.join("..tmp")).unwrap();
        fs::rename(root.join("..tmp"), root.join("..data")).unwrap();
    };
    version("..1", &[0]);
    swap("..1");
    symlink("..data/list.yaml", root.join("list.yaml")).unwrap();
    let proxy = stage.proxy(WATCHED).await;
    endpoints_become(&proxy, &stage.ids(&[0])).await;
    for (name, places) in [("..2", [1, 2]), ("..3", [0, 2])] {
        version(name, &places);
        swap(name);
        endpoints_become(&proxy, &stage.ids(&places)).await;
    }
    // In place, in the folder behind the links.
    fs::write(root.join("..3").join("list.yaml"), stage.list(&[1])).unwrap();
    endpoints_become(&proxy, &stage.ids(&[1])).await;
}

#[tokio::test]
async fn what_is_no_list_changes_nothing_and_says_where_the_mistake_is() {
    let stage = Stage::new();
    stage.directory.write("list.yaml", stage.list(&[0, 1]));
    let proxy = stage.proxy(WATCHED).await;
    let both = stage.ids(&[0, 1]);
    endpoints_become(&proxy, &both).await;
    stage.server.trouble("nowhere.test", Trouble::NoName);
    let mistakes = [
        (
            "- \"127.0.0.1:1\"\n- { address: nonsense }\n",
            "line 2: [1].address: expected the address",
        ),
        ("endpoints: []\n", "expected a list, found a map"),
        ("- [\n", "this is not YAML"),
        ("", "the file lists nothing"),
        (
            "- nowhere.test:80\n",
            "none of its 1 entries has an address",
        ),
        (
            "- \"127.0.0.1:1\"\n- \"127.0.0.1:1\"\n",
            "has the same address",
        ),
    ];
    for (text, reason) in mistakes {
        stage.replace(text);
        let failing = source_when(&proxy, |source| {
            source
                .error
                .as_ref()
                .is_some_and(|error| error.contains(reason))
        });
        assert_eq!(failing.await.entries, 2);
        endpoints_become(&proxy, &both).await;
    }
    tells(
        &proxy,
        &[
            "gets no list from",
            "line 2",
            "the last one, of 2, stays in force",
        ],
    )
    .await;
    stage.replace(&stage.list(&[2]));
    endpoints_become(&proxy, &stage.ids(&[2])).await;
    tells(&proxy, &["again", "removed", "0 kept"]).await;
}

#[tokio::test]
async fn names_in_a_file_are_followed_and_what_stands_in_the_configuration_comes_first() {
    let stage = Stage::new();
    let (fixed, port) = (
        stage.backends[0].endpoint(),
        stage.backends[1].address().port(),
    );
    stage.server.addresses("app.test", 0, &["127.0.0.1"]);
    let list = format!("- {{ address: \"{fixed}\", weight: 7 }}\n- app.test:{port}\n");
    let file = stage.directory.write("list.yaml", list);
    let keys = format!("endpoints: [\"{fixed}\"]\n    endpoints_file: {file:?}");
    let proxy = proxy(&stage.server, &keys, WATCHED).await;
    let named = |ip: &str| format!("app.test:{port}/{ip}");
    endpoints_become(&proxy, &[fixed.clone(), named("127.0.0.1")]).await;
    let upstream = std::sync::Arc::clone(&proxy.live().snapshot.load().upstreams[0]);
    let weights = upstream.groups.layout().places().iter();
    assert!(weights.map(|place| place.weight).eq([1, 1]));
    stage
        .server
        .addresses("app.test", 0, &["127.0.0.1", "127.0.0.5"]);
    endpoints_become(&proxy, &[fixed, named("127.0.0.1"), named("127.0.0.5")]).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_found_when_it_comes() {
    let stage = Stage::new();
    // Its folder is missing, too, so that there is nothing to watch.
    let folder = stage.directory.path().join("later");
    let keys = format!("endpoints_file: {:?}", folder.join("list.yaml"));
    let proxy = proxy(&stage.server, &keys, "poll: 100ms").await;
    assert_eq!(Client::h1(proxy.address()).await.get("/").await.status, 503);
    tells(&proxy, &["cannot be read", "it has none yet"]).await;
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("list.yaml"), stage.list(&[1])).unwrap();
    endpoints_become(&proxy, &stage.ids(&[1])).await;
}

#[tokio::test]
async fn a_list_that_is_of_no_use_is_told_of_once() {
    let stage = Stage::new();
    stage.directory.write("list.yaml", stage.list(&[0]));
    let file = stage.directory.path().join("list.yaml");
    let keys = format!("endpoints_file: {file:?}\n    tls: {{}}");
    let proxy = proxy(&stage.server, &keys, WATCHED).await;
    endpoints_become(&proxy, &stage.ids(&[0])).await;
    stage.replace(&(stage.list(&[0, 1]) + "- \"unix:/run/b.sock\"\n"));
    tells(&proxy, &["is of no use"]).await;
    let kept = proxy.live().snapshot.load_full();
    let same = yaml(&stage.server, &keys, WATCHED);
    for _ in 0..3 {
        // Each looks at the list once more.
        assert!(proxy.reload(&same).await.is_err());
    }
    let told = told(&proxy).into_iter();
    assert_eq!(told.filter(|text| text.contains("is of no use")).count(), 1);
    let now = proxy.live().snapshot.load_full();
    assert!(
        std::sync::Arc::ptr_eq(&kept, &now),
        "nothing else is in force"
    );
    stage.replace(&stage.list(&[0, 1]));
    endpoints_become(&proxy, &stage.ids(&[0, 1])).await;
}
