//! A Restate server of one node, all of whose ports are free ones of 127.0.0.1.

use super::process::Process;
use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable with the path of the server's binary.
const BINARY: &str = "RESTATE_SERVER";

/// Open workflows that a server takes as shipped: 1,000 in each of 24 partitions.
const SHIPPED_PLACES: u32 = 24_000;

/// Where the server is, found once per run.
pub(super) struct Binary {
    path: PathBuf,
    pub(super) version: String,
}

impl Binary {
    /// That of `RESTATE_SERVER`, or the one that `dev/peers` has put below `bench/peers`.
    pub(super) fn find() -> Result<Binary, Box<dyn Error>> {
        let path = match std::env::var_os(BINARY) {
            Some(path) => PathBuf::from(path),
            None => shipped()
                .ok_or(format!("no restate-server was found: dev/peers gets it, or set {BINARY} to its path"))?,
        };
        let said = Command::new(&path).arg("--version").output();
        let said = said.map_err(|error| format!("{} does not run: {error}", path.display()))?;
        Ok(Binary { path, version: String::from_utf8_lossy(&said.stdout).trim().to_owned() })
    }
}

/// The npm package has one package with the binary for each system; only this one's is installed.
fn shipped() -> Option<PathBuf> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/node_modules/@restatedev");
    let mut found = std::fs::read_dir(packages).ok()?.flatten().map(|entry| entry.path().join("bin/restate-server"));
    found.find(|path| path.is_file())
}

/// A store and its ports; the server comes and goes.
pub(super) struct Restate {
    server: Process,
    folder: PathBuf,
    /// Ingress, admin, the node itself, and the service of the driver.
    ports: [u16; 4],
    partitions: Option<u32>,
}

impl Restate {
    /// Starts a server on a store in `folder`. It may not take requests yet. `partitions` of a fresh store: by default as
    /// shipped.
    pub(super) fn start(binary: &Binary, folder: &Path, partitions: Option<u32>) -> Result<Restate, Box<dyn Error>> {
        let held: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let mut ports = [0; 4];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr()?.port();
        }
        drop(held);
        let server = serve(binary, folder, ports, partitions)?;
        Ok(Restate { server, folder: folder.to_owned(), ports, partitions })
    }

    /// Ends the server as `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts a server again, on the same store and ports.
    pub(super) fn start_again(&mut self, binary: &Binary) -> Result<(), Box<dyn Error>> {
        self.server = serve(binary, &self.folder, self.ports, self.partitions)?;
        Ok(())
    }

    /// What the driver needs to know.
    pub(super) fn tell(&self, driver: &mut Command) {
        let [ingress, admin, _, service] = self.ports;
        driver.args([
            "--ingress",
            &format!("http://127.0.0.1:{ingress}"),
            "--admin",
            &format!("http://127.0.0.1:{admin}"),
        ]);
        driver.args(["--service-port", &service.to_string(), "--server-pid", &self.server.id().to_string()]);
        driver.args(self.partitions.map(|partitions| format!("--partitions={partitions}")));
    }
}

fn serve(
    binary: &Binary,
    folder: &Path,
    [ingress, admin, node, _]: [u16; 4],
    partitions: Option<u32>,
) -> Result<Process, Box<dyn Error>> {
    let mut command = Command::new(&binary.path);
    command
        .args(["--no-logo", "--node-name", "antiphon-peers", "--listen-mode", "tcp"])
        .args(["--bind-ip", "127.0.0.1", "--advertised-host", "127.0.0.1", "--bind-port", &node.to_string()])
        .arg("--base-dir")
        .arg(folder.join("restate"))
        .env("RESTATE_INGRESS__BIND_ADDRESS", format!("127.0.0.1:{ingress}"))
        .env("RESTATE_ADMIN__BIND_ADDRESS", format!("127.0.0.1:{admin}"))
        // It would call home.
        .env("RESTATE_DISABLE_TELEMETRY", "true");
    if let Some(partitions) = partitions {
        // Each partition has places for open workflows; fewer partitions would leave fewer places in all, and what waits
        // would fill them.
        let places = SHIPPED_PLACES / partitions;
        command
            .args(["--default-num-partitions", &partitions.to_string()])
            .env("RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT", places.to_string());
    }
    Process::start_unheard(command, &folder.join("restate.log"))
}
