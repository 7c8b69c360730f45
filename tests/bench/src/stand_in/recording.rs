//! What a click on the counter app is answered with, as it was once recorded.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::Launch;
use streamfleet_testkit::wire::{Finish, Forward, ForwardMsg, WidgetState, WidgetStates, WidgetValue};

use crate::app::App;

/// The messages of a run, encoded, in order.
#[derive(Debug)]
pub(super) struct Recording {
    /// All up to the text that shows the count.
    pub(super) before: Vec<Bytes>,
    /// What comes behind it: the end of the run.
    pub(super) after: Vec<Bytes>,
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "recordings", "click.bin"].iter().collect()
}

impl Recording {
    /// The recording in this folder.
    pub(super) fn load() -> Result<Self> {
        let path = path();
        let mut content = Bytes::from(std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        let mut parts = [Vec::new(), Vec::new()];
        for part in &mut parts {
            let count = content.try_get_u32().context("the recording is cut off")?;
            for _ in 0..count {
                let length = content.try_get_u32().context("the recording is cut off")? as usize;
                anyhow::ensure!(length <= content.len(), "the recording is cut off");
                part.push(content.split_to(length));
            }
        }
        let [before, after] = parts;
        Ok(Self { before, after })
    }
}

/// The message that shows a count: what the kit's client takes for a change of the page.
pub(super) fn count(clicks: u64) -> Bytes {
    let shown = Bytes::from(format!("count={clicks};"));
    ForwardMsg { kind: Some(Forward::Delta(shown)), ..ForwardMsg::default() }.encode_to_vec().into()
}

/// Records a click on the real counter app of plain Streamlit anew.
pub(crate) async fn record() -> Result<()> {
    // The path of the script is in what it answers; whose machine it was recorded on is nobody's business.
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("counter.py");
    std::fs::copy(App::Counter.script(), &script)?;
    let server = Launch::plain_streamlit(&script).start().await?;
    let mut browser = Browser::open(server.endpoint()).await?;
    let id = browser.widget("click").context("the app has no button")?;
    let mut state = browser.state();
    state.cached_message_hashes.clear();
    state.widget_states =
        Some(WidgetStates { widgets: vec![WidgetState { id, value: Some(WidgetValue::Trigger(true)) }] });
    browser.client.rerun(state).await?;
    let mut parts = [Vec::new(), Vec::new()];
    let mut counted = false;
    let finish = browser.client.settle(|message| {
        if matches!(&message.kind, Some(Forward::Delta(delta)) if delta.windows(6).any(|part| part == b"count=")) {
            counted = true;
        } else {
            parts[usize::from(counted)].push(message.encode_to_vec());
        }
        Ok(())
    });
    anyhow::ensure!(finish.await? == Finish::Success, "the run has failed");
    anyhow::ensure!(counted, "the answer shows no count");
    let mut content = Vec::new();
    for part in parts {
        content.put_u32(u32::try_from(part.len())?);
        for message in part {
            content.put_u32(u32::try_from(message.len())?);
            content.put_slice(&message);
        }
    }
    std::fs::create_dir_all(path().parent().context("no folder")?)?;
    std::fs::write(path(), content).with_context(|| format!("writing {}", path().display()))
}
