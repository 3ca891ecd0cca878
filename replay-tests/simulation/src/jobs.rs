//! Simulated routines, and who looks after them and after what is stuck.

use crate::broken::{Broken, Checked};
use crate::interpret::WORKFLOW;
use crate::sometimes::Point;
use crate::world::World;
use antiphon_engine::{
    By, Input, Ran, RepairReply, RepairRequest, Reply, RequestError, RoutinesReply, RoutinesRequest, Thresholds,
};
use antiphon_history::{
    CatchUp, EntityName, Overlap, Payload, RetryPolicy, RoutineSpec, RoutineTarget, Schedule, Timestamp,
};

/// How many routines a life may have.
const ROUTINES: u32 = 3;

/// A leg of which nothing was heard for so long counts as stuck, in milliseconds.
pub(crate) const SILENT_MS: u64 = 2_000;
/// A leg counts as stuck so long after its worker went, in milliseconds.
pub(crate) const GONE_MS: u64 = 300;

fn routine_id(a: u32) -> String {
    format!("job-{}", a % ROUTINES)
}

impl World<'_> {
    fn asks_of_routines(&mut self, request: RoutinesRequest) -> Checked {
        let now = self.now();
        for need in self.partition.needs_of_request(&request, now) {
            self.bring_in(need.workflow())?;
        }
        let to = self.callers.number();
        self.operators.insert(to);
        self.step(Input::Routines(request, to))
    }

    pub(crate) fn routine_create(&mut self, a: u32, b: u32) -> Checked {
        let now = self.now();
        let program = &self.plan.programs[(a >> 4) as usize % self.plan.programs.len()];
        let input = vec![Payload::binary(program.to_bytes())];
        let target = RoutineTarget::Workflow { workflow_type: WORKFLOW.to_owned(), id_prefix: String::new(), input };
        let every_ms = [40, 1_000, 60_000][b as usize % 3];
        let schedule = match (b >> 2) % 5 {
            0 => Schedule::Once { at: Timestamp(now.0 + i64::from(b >> 8) % 4_000 - 2_000) },
            1 => Schedule::Interval { every_ms, phase_ms: Some(u64::from(b >> 8) % every_ms) },
            _ => Schedule::Interval { every_ms, phase_ms: None },
        };
        let spec = RoutineSpec {
            catch_up: [CatchUp::All, CatchUp::One, CatchUp::Skip { late_ms: 500 }][(b >> 4) as usize % 3],
            overlap: [Overlap::Skip, Overlap::BufferOne, Overlap::BufferAll, Overlap::CancelOther, Overlap::AllowAll]
                [(b >> 6) as usize % 5],
            jitter_ms: [0, 0, 30][(b >> 9) as usize % 3],
            end_at: (b >> 11).is_multiple_of(4).then(|| Timestamp(now.0 + 30_000)),
            // Each slot is a run with a program of its own.
            max_runs: Some([1, 3, 8][(b >> 13) as usize % 3]),
            retry: RetryPolicy { max_attempts: 1 + (b >> 15) % 3, initial_ms: 50, factor_percent: 200, max_ms: 4_000 },
            ..RoutineSpec::new(schedule, target)
        };
        let (who, why) = ("ada".to_owned(), String::new());
        self.asks_of_routines(RoutinesRequest::Create { id: Some(routine_id(a)), spec: Box::new(spec), who, why })
    }

    /// Somebody looks after a routine.
    pub(crate) fn routine_verb(&mut self, a: u32, b: u32) -> Checked {
        let (id, who, why) = (routine_id(a), "ada".to_owned(), String::new());
        let now = self.now();
        self.asks_of_routines(match b % 8 {
            0 | 1 => RoutinesRequest::Pause { id, note: String::new(), who },
            2..=4 => RoutinesRequest::Resume { id, who, why },
            5 => RoutinesRequest::RunNow { id, who, why },
            6 => {
                let from = Timestamp(now.0 - i64::from(b >> 4) % 5_000);
                RoutinesRequest::Backfill { id, from, to: now, who, why }
            }
            _ if b & 0x30 == 0 => RoutinesRequest::Cancel { id, who, why },
            _ => RoutinesRequest::NextDueAt,
        })
    }

    pub(crate) fn routines_due(&mut self, b: u32) -> Checked {
        self.asks_of_routines(RoutinesRequest::RunDue { now: None, limit: 1 + b as usize % 3 })
    }

    /// Faults are over: routines start nothing more, so that what they started can end.
    pub(crate) fn routines_rest(&mut self) -> Checked {
        for number in 0..ROUTINES {
            let (id, who, why) = (routine_id(number), "ada".to_owned(), String::new());
            self.asks_of_routines(match self.plan.seed % 2 {
                0 => RoutinesRequest::Pause { id, note: String::new(), who },
                _ => RoutinesRequest::Cancel { id, who, why },
            })?;
        }
        self.flush()
    }

    /// Somebody looks for what is stuck, and has it repaired.
    pub(crate) fn reconcile(&mut self, b: u32) -> Checked {
        let thresholds = Thresholds { gone_ms: GONE_MS, silent_ms: SILENT_MS, waiting_ms: 1_000 };
        let by = By { who: "ada".to_owned(), why: String::new() };
        let request = match b % 4 {
            0 => RepairRequest::Scan(thresholds),
            _ => RepairRequest::Reconcile { thresholds, dry_run: b % 4 == 1, by },
        };
        // What is due anyway happens first.
        self.ticks()?;
        let (changes, before) = (b % 4 > 1, self.partition.batch_bytes());
        let to = self.callers.number();
        self.operators.insert(to);
        self.step(Input::Repair(Box::new(request), to))?;
        if !changes && self.partition.batch_bytes() != before {
            return Err(Broken::new(8, "a look for what is stuck changed something", format!("{before} bytes")));
        }
        Ok(())
    }

    /// An operator is answered: what is said must be on record (invariant 1).
    pub(crate) fn operator_replied(&mut self, reply: Reply) -> Checked {
        match reply {
            Reply::Routines(reply) => match *reply {
                RoutinesReply::Ran(ran) => {
                    for slot in ran {
                        let Ran::Started { run_id, workflow_id, .. } = slot.ran else { continue };
                        if self.book.newest(&workflow_id).is_none_or(|run| run.started.run_id != run_id) {
                            let detail = format!("{} started {workflow_id} as {run_id}", slot.id);
                            return Err(Broken::new(1, "an answer says what is not on record", detail));
                        }
                    }
                    Ok(())
                }
                RoutinesReply::Routine { routine, .. } => {
                    let name = EntityName::Routine(routine.state.id.clone());
                    match self.book.entities.iter().any(|(key, entity)| key == routine.key && entity.name == name) {
                        true => Ok(()),
                        false => Err(Broken::new(1, "an answer says what is not on record", routine.state.id)),
                    }
                }
                _ => Ok(()),
            },
            Reply::Repair(reply) => {
                if let RepairReply::Report(report) = &*reply
                    && report.repaired > 0
                {
                    self.sometimes.met(Point::Repaired);
                }
                Ok(())
            }
            Reply::Refused(RequestError::Repair(_)) => Ok(()),
            other => Err(Broken::new(1, "an answer that does not fit its question", format!("{other:?}"))),
        }
    }
}
