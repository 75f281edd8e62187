//! A sink changed so that everything in it still agrees with everything else: what only the topic can refute.

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use windrow::log::entry::Entry;
use windrow::log::publish::Feed;
use windrow::sink::layout;
use windrow::sink::state::digest;

use super::place::Place;

/// Replaces the rows of a published file, and makes log and feed agree with it.
pub(crate) fn file(place: &Place, key: &str, change: impl FnOnce(RecordBatch) -> RecordBatch) {
    let batches = place.batches(key);
    let schema = batches[0].schema();
    let changed = change(arrow::compute::concat_batches(&schema, &batches).unwrap());
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&changed).unwrap();
    writer.close().unwrap();
    place.plant(key, &bytes);
    log(place, |entry| {
        for file in entry.files.iter_mut().filter(|file| file.path == key) {
            let rows = changed.num_rows() as u64;
            if let Some(closed) = entry
                .closed
                .iter_mut()
                .find(|closed| Some(closed.window) == file.window && closed.revision == file.revision)
            {
                closed.rows = closed.rows - file.rows + rows;
            }
            (file.rows, file.bytes, file.sha256) = (rows, bytes.len() as u64, digest(&bytes));
        }
    });
}

/// Changes entries of the log, and chains them anew.
pub(crate) fn log(place: &Place, mut change: impl FnMut(&mut Entry)) {
    let mut previous = None;
    for key in place.keys("_windrow/log", ".json") {
        let mut entry: Entry = serde_json::from_slice(&place.get(&key)).unwrap();
        change(&mut entry);
        entry.previous = previous;
        let bytes = serde_json::to_vec(&entry).unwrap();
        place.plant(&key, &bytes);
        previous = Some(digest(&bytes));
        if let Some(feed) = Feed::of(&entry) {
            place.plant(&layout::feed(entry.sequence), &serde_json::to_vec(&feed).unwrap());
        }
    }
}
