//! Telling every task to stop.

use tokio::sync::watch;

/// Cloned freely; once triggered, it stays so.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

/// The other end.
#[derive(Debug)]
pub(crate) struct Trigger(watch::Sender<bool>);

pub(crate) fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Returns once told to stop, or once nobody could say so any more.
    pub(crate) async fn cancelled(&self) {
        let _ = self.0.clone().wait_for(|stop| *stop).await;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }
}
