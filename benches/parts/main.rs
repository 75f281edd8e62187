//! What the parts of the path cost, each by itself and without a broker.
//!
//! ```text
//! cargo bench --bench parts
//! ```
//!
//! measures time. On a machine that does other things besides, times say little; to have a program count instructions,
//!
//! ```text
//! parts --times NUMBER NAME
//! ```
//!
//! does one part so often and nothing else, and says how many items one time has. `.ci/instructions.py` does that.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on ends")]

mod path;

use divan::Bencher;
use divan::counter::ItemsCount;

/// A part: what is prepared once, and what is done again and again. `items` is what one time takes in.
pub(crate) struct Part {
    name: &'static str,
    items: usize,
    prepare: fn(usize) -> Box<dyn FnMut()>,
}

const PARTS: &[Part] = &[
    Part { name: "decode", items: 4096, prepare: path::decode },
    Part { name: "decode_spaced", items: 4096, prepare: path::decode_spaced },
    Part { name: "group", items: 4096, prepare: path::group },
    Part { name: "group_many", items: 65_536, prepare: path::group_many },
    Part { name: "close_many", items: 65_536, prepare: path::close_many },
    Part { name: "parquet", items: 65_536, prepare: path::parquet },
    Part { name: "commit", items: 1, prepare: path::commit },
    Part { name: "commit_long", items: 1, prepare: path::commit_long },
    Part { name: "newest", items: 1, prepare: path::newest },
    Part { name: "newest_long", items: 1, prepare: path::newest_long },
];

#[divan::bench(args = PARTS.iter().map(|part| part.name))]
fn part(bencher: Bencher<'_, '_>, name: &str) {
    let part = PARTS.iter().find(|part| part.name == name).unwrap();
    bencher.counter(ItemsCount::new(part.items)).with_inputs(|| ()).bench_local_values({
        let mut work = (part.prepare)(part.items);
        move |()| work()
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, flag, times, name] = arguments.as_slice() else { return divan::main() };
    if flag != "--times" {
        return divan::main();
    }
    let part = PARTS.iter().find(|part| part.name == name).unwrap();
    let mut work = (part.prepare)(part.items);
    (0..times.parse::<usize>().unwrap()).for_each(|_| work());
    println!("{}", part.items);
}
