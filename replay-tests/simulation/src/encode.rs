//! Programs as bytes: the input of the one workflow type that carries them out.

use crate::program::{More, Node, Step};

impl Node {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads a program that must fill `bytes`.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Node> {
        let node = Node::read(&mut bytes)?;
        bytes.is_empty().then_some(node)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let list = |out: &mut Vec<u8>, tag: u8, parts: &[Node]| {
            out.extend([tag, parts.len() as u8]);
            parts.iter().for_each(|part| part.write(out));
        };
        match self {
            Node::Activity(step) => {
                out.push(0);
                step.write(out);
            }
            Node::Timer { ms } => {
                out.push(1);
                out.extend(ms.to_le_bytes());
            }
            Node::Signal { name } => out.extend([2, *name]),
            Node::SideEffect => out.push(3),
            Node::Now => out.push(4),
            Node::Patched { name, then } => {
                out.extend([5, *name]);
                then.write(out);
            }
            Node::Seq(parts) => list(out, 6, parts),
            Node::Join { parts, on_demand: false } => list(out, 7, parts),
            Node::Join { parts, on_demand: true } => list(out, 8, parts),
            Node::Race(parts) => list(out, 9, parts),
            Node::Aware { body, then } => {
                out.push(10);
                body.write(out);
                then.write(out);
            }
            Node::Undo(step) => {
                out.push(11);
                step.write(out);
            }
            Node::Try(body) => {
                out.push(12);
                body.write(out);
            }
            Node::Fail(id) => {
                out.push(13);
                out.extend(id.to_le_bytes());
            }
            Node::Bug => out.push(14),
        }
    }

    fn read(rest: &mut &[u8]) -> Option<Node> {
        Some(match byte(rest)? {
            0 => Node::Activity(Step::read(rest)?),
            1 => Node::Timer { ms: u32::from_le_bytes(take(rest)?) },
            2 => Node::Signal { name: byte(rest)? },
            3 => Node::SideEffect,
            4 => Node::Now,
            5 => Node::Patched { name: byte(rest)?, then: Box::new(Node::read(rest)?) },
            6 => Node::Seq(Node::read_list(rest)?),
            7 => Node::Join { parts: Node::read_list(rest)?, on_demand: false },
            8 => Node::Join { parts: Node::read_list(rest)?, on_demand: true },
            9 => Node::Race(Node::read_list(rest)?),
            10 => Node::Aware { body: Box::new(Node::read(rest)?), then: Box::new(Node::read(rest)?) },
            11 => Node::Undo(Step::read(rest)?),
            12 => Node::Try(Box::new(Node::read(rest)?)),
            13 => Node::Fail(u16::from_le_bytes(take(rest)?)),
            14 => Node::Bug,
            _ => return None,
        })
    }

    fn read_list(rest: &mut &[u8]) -> Option<Vec<Node>> {
        let count = byte(rest)?;
        (0..count).map(|_| Node::read(rest)).collect()
    }
}

impl Step {
    fn write(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.at_most_once) | u8::from(self.fail_fast) << 1 | u8::from(self.needs_label) << 2;
        let flags = flags | u8::from(self.more.is_some()) << 3;
        out.extend(self.id.to_le_bytes());
        out.extend([self.kind, self.queue, self.attempts, self.max_losses, flags]);
        for wide in [self.backoff_ms, self.to_start_ms, self.to_close_ms, self.heartbeat_ms] {
            out.extend(wide.to_le_bytes());
        }
        out.extend(self.in_all_ms.to_le_bytes());
        if let Some(More { priority, fairness, limit, hold, route }) = self.more {
            out.extend([priority, fairness, limit, u8::from(hold), route]);
        }
    }

    fn read(rest: &mut &[u8]) -> Option<Step> {
        let id = u16::from_le_bytes(take(rest)?);
        let [kind, queue, attempts, max_losses, flags] = take(rest)?;
        let mut wide = || take(rest).map(u16::from_le_bytes);
        let (backoff_ms, to_start_ms, to_close_ms, heartbeat_ms) = (wide()?, wide()?, wide()?, wide()?);
        let in_all_ms = u32::from_le_bytes(take(rest)?);
        let flag = |bit: u8| flags >> bit & 1 == 1;
        let (at_most_once, fail_fast, needs_label) = (flag(0), flag(1), flag(2));
        let more = match flag(3) {
            true => {
                let [priority, fairness, limit, hold, route] = take(rest)?;
                Some(More { priority, fairness, limit, hold: hold == 1, route })
            }
            false => None,
        };
        Some(Step {
            id,
            kind,
            queue,
            attempts,
            backoff_ms,
            max_losses,
            at_most_once,
            fail_fast,
            needs_label,
            to_start_ms,
            to_close_ms,
            in_all_ms,
            heartbeat_ms,
            more,
        })
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take::<1>(rest).map(|[byte]| byte)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_program_reads_back_as_it_was_written_and_cut_bytes_do_not_read() {
        let mut rng = Rng::new(3);
        for _ in 0..500 {
            let mut program = Node::program(&mut rng, true);
            let more = More { priority: 2, fairness: 1, limit: 3, hold: true, route: 4 };
            program.each_step(&mut |step| step.more = rng.chance(1, 2).then_some(more));
            let bytes = program.to_bytes();
            assert_eq!(Node::from_bytes(&bytes), Some(program));
            assert_eq!(Node::from_bytes(&bytes[..bytes.len() - 1]), None);
        }
    }
}
