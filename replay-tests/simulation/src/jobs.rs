//! Simulated routines, and who looks after them and after what is stuck.

use crate::broken::{Broken, Checked};
use crate::calendar::zone_name;
use crate::interpret::WORKFLOW;
use crate::sometimes::Point;
use crate::wide::Feature;
use crate::world::World;
use antiphon_engine::{
    By, Input, Ran, RepairReply, RepairRequest, Reply, ReplyTo, RequestError, RoutinesReply, RoutinesRequest,
    Thresholds,
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

/// When something counts as stuck.
pub(crate) fn thresholds() -> Thresholds {
    Thresholds { gone_ms: GONE_MS, silent_ms: SILENT_MS, waiting_ms: 1_000 }
}

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
        let every_ms = [40, 1_000, 60_000][b as usize % 3];
        let now = self.now();
        let schedule = match (b >> 2) % 5 {
            0 => Schedule::Once { at: Timestamp(now.0 + i64::from(b >> 8) % 4_000 - 2_000) },
            1 => Schedule::Interval { every_ms, phase_ms: Some(u64::from(b >> 8) % every_ms) },
            _ => Schedule::Interval { every_ms, phase_ms: None },
        };
        self.routine_of(schedule, a, b)
    }

    /// A routine by a cron expression.
    pub(crate) fn cron_create(&mut self, a: u32, b: u32) -> Checked {
        let expression = ["30 2", "1,30 0,1,2,13", "0 3", "59 23", "0,15,30,45 1,2"][(b >> 3) as usize % 5].to_owned();
        self.routine_of(Schedule::Cron { expression, zone: zone_name(b >> 6) }, a, b)
    }

    /// Days go by, up to some months: over a year and more in a life.
    pub(crate) fn days_pass(&mut self, a: u32, b: u32) -> Checked {
        let days = [1, 2, 30, 95][b as usize % 4];
        self.clock += days * 24 * 60 * 60_000 + i64::from(a % 7_200_000) - 3_600_000;
        self.sometimes.met(Point::DaysPassed);
        self.bring_back_due()?;
        self.step(Input::Tick)
    }

    fn routine_of(&mut self, schedule: Schedule, a: u32, b: u32) -> Checked {
        let now = self.now();
        let is_cron = matches!(schedule, Schedule::Cron { .. });
        let program = &self.plan.programs[(a >> 4) as usize % self.plan.programs.len()];
        let input = vec![Payload::binary(program.to_bytes())];
        let target = RoutineTarget::Workflow { workflow_type: WORKFLOW.to_owned(), id_prefix: String::new(), input };
        let spec = RoutineSpec {
            catch_up: [CatchUp::All, CatchUp::One, CatchUp::Skip { late_ms: 500 }][(b >> 4) as usize % 3],
            overlap: [Overlap::Skip, Overlap::BufferOne, Overlap::BufferAll, Overlap::CancelOther, Overlap::AllowAll]
                [(b >> 6) as usize % 5],
            jitter_ms: [0, 0, 30][(b >> 9) as usize % 3],
            end_at: (!is_cron && (b >> 11).is_multiple_of(4)).then(|| Timestamp(now.0 + 30_000)),
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
        let thresholds = thresholds();
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
    pub(crate) fn operator_replied(&mut self, to: ReplyTo, reply: Reply) -> Checked {
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
            Reply::Repair(reply) => match *reply {
                RepairReply::Report(report) => {
                    if report.repaired > 0 {
                        self.sometimes.met(Point::Repaired);
                    } else if self.plan.features.contains(&Feature::Edges) {
                        self.found.findings = report.findings;
                        self.found.findings.retain(|finding| finding.only_reported.is_none());
                    }
                    Ok(())
                }
                RepairReply::Done { changed } if self.found.is_asked(to) => self.repaired(to, changed),
                RepairReply::Done { changed } => self.letter_replied(to, changed),
                _ => Ok(()),
            },
            Reply::Routing(_) => Ok(()),
            Reply::Queues(reply) => self.queues_replied(to, &reply),
            Reply::Refused(RequestError::Repair(_)) => self.repaired(to, false),
            Reply::Refused(RequestError::NotFound { .. } | RequestError::AlreadyEnded { .. }) => Ok(()),
            other => Err(Broken::new(1, "an answer that does not fit its question", format!("{other:?}"))),
        }
    }
}
