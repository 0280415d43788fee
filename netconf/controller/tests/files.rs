//! The file of a store, and places that are none.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use farlan_controller::{Store, StoreError, read_key_file, write_key_file};
use farlan_crypto::Work;
use support::{Home, NOW, Place, person, run};

#[test]
fn nobody_else_can_read_the_file_or_what_is_beside_it() {
    run(async {
        let place = Place::file();
        let mut home = Home::new(&place).await;
        let link = home.invite(0, NOW).await;
        home.join(&person(1), &link, "ben", NOW).await;
        let directory = Path::new(&place.name()).parent().unwrap().to_owned();
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o7777,
                0o600,
                "{entry:?}"
            );
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["controller.db", "controller.db-shm", "controller.db-wal"]);
    });
}

#[test]
fn a_file_that_others_could_read_is_refused() {
    run(async {
        let place = Place::file();
        place.open().await.close().await;
        let name = place.name();
        fs::set_permissions(&name, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Store::open(&name).await.unwrap_err().to_string();
        assert!(error.contains(&format!("chmod 600 {name}")), "{error}");
        fs::set_permissions(&name, fs::Permissions::from_mode(0o600)).unwrap();
        place.open().await.close().await;

        let other = format!("{name}-link");
        symlink(&name, &other).unwrap();
        let error = Store::open(&other).await.unwrap_err().to_string();
        assert!(error.contains("link"), "{error}");
    });
}

#[test]
fn key_files_are_closed_to_others_and_not_replaced() {
    run(async {
        let place = Place::file();
        let home = Home::new(&place).await;
        let exported = home.controller.export(&home.id()).await.unwrap();
        let path = Path::new(&place.name()).with_file_name("key");
        write_key_file(&path, &exported).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let again = write_key_file(&path, &exported).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(read_key_file(&path, Work::NONE).unwrap().to_text(), exported.to_text());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let refused = read_key_file(&path, Work::NONE).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    });
}

#[test]
fn what_is_no_store_is_refused() {
    run(async {
        let place = Place::file();
        let name = place.name();
        fs::write(
            &name,
            "no database at all, but long enough to be looked at as one by whoever opens it",
        )
        .unwrap();
        fs::set_permissions(&name, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Store::open(&name).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
        let error = Store::open("mysql://somewhere/x").await.unwrap_err().to_string();
        assert!(error.contains("postgres://"), "{error}");
        let error = Store::open("/nowhere/at/all/x.db").await.unwrap_err();
        assert!(matches!(error, StoreError::File { .. }), "{error:?}");
    });
}

#[test]
fn keys_do_not_go_to_a_distant_database_in_the_clear() {
    run(async {
        let error = Store::open("postgres://farlan@192.0.2.1/farlan")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sslmode=disable") && error.contains("192.0.2.1"),
            "{error}"
        );
        let error = Store::open("postgres://farlan@localhost/farlan?sslmode=require")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("TLS"), "{error}");
    });
}

#[test]
fn a_database_that_is_not_there_is_said_to_be() {
    run(async {
        let error = Store::open("postgres://farlan@localhost/farlan?host=/nowhere")
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Lost(_)), "{error:?}");
        assert!(error.to_string().contains("see that PostgreSQL runs"), "{error}");
        let place = Place::database().await;
        let Place::Database { url, .. } = &place else {
            unreachable!()
        };
        let missing = url.replace("localhost/farlan", "localhost/missing");
        let error = Store::open(&missing).await.unwrap_err();
        assert!(matches!(error, StoreError::Lost(_)), "{error:?}");
    });
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    run(async {
        let place = Place::database().await;
        place.open().await.close().await;
        let Place::Database { server, url } = &place else {
            unreachable!()
        };
        let name = url
            .split(['/', '?'])
            .find(|part| part.starts_with("farlan") && !part.contains('@'))
            .unwrap();
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (999, 'newer', true, '\\x00', 0)";
        server.run(name, newer).await;
        let error = Store::open(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer), "{error:?}");
    });
}
