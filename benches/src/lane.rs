//! A thread with a runtime of its own: the site has one, the load has one.

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::Outcome;

/// Ends, with all that runs on it, when it is dropped.
pub struct Lane {
    pub handle: Handle,
    _held: oneshot::Sender<()>,
}

impl Lane {
    pub fn new(name: &str) -> Outcome<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (held, dropped) = oneshot::channel::<()>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(dropped))?;
        Ok(Self { handle, _held: held })
    }
}
