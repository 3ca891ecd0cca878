//! The workflows, as Restate knows them.

use restate_sdk::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Serves all of them on 127.0.0.1 until the process ends. `slow` is what one activity of `Slow` takes.
pub(crate) async fn serve(port: u16, slow: Duration) {
    let endpoint = Endpoint::builder().bind(Sequence).bind(Slow { each: slow }).bind(Fan).bind(Echo).bind(Park).build();
    HttpServer::new(endpoint).listen_and_serve(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
}

async fn hello() -> HandlerResult<String> {
    Ok("hello-world".to_owned())
}

struct Sequence;

#[restate_sdk::workflow(name = "sequence")]
impl Sequence {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, n: u64) -> HandlerResult<String> {
        let mut last = String::new();
        for _ in 0..n {
            last = ctx.run(hello).name("echo").await?;
        }
        Ok(last)
    }
}

struct Slow {
    each: Duration,
}

#[restate_sdk::workflow(name = "slow")]
impl Slow {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, n: u64) -> HandlerResult<String> {
        let each = self.each;
        let mut last = String::new();
        for _ in 0..n {
            let wait = || async move {
                tokio::time::sleep(each).await;
                hello().await
            };
            last = ctx.run(wait).name("slow").await?;
        }
        Ok(last)
    }
}

/// The SDK joins calls, timers and signals, not blocks of code: an activity of a join is a call of this service.
struct Echo;

#[restate_sdk::service(name = "echo")]
impl Echo {
    #[handler]
    async fn echo(&self, _ctx: Context<'_>, text: String) -> HandlerResult<String> {
        Ok(text)
    }
}

struct Fan;

#[restate_sdk::workflow(name = "fan")]
impl Fan {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, n: u64) -> HandlerResult<String> {
        let mut calls = DurableFuturesUnordered::new();
        for _ in 0..n {
            calls.push(ctx.service_client::<EchoClient>().echo("hello-world".to_owned()).call());
        }
        let mut answered = 0u64;
        while let Some((_, answer)) = calls.next().await? {
            let _: String = answer?;
            answered += 1;
        }
        Ok(answered.to_string())
    }
}

struct Park;

#[restate_sdk::workflow(name = "park")]
impl Park {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, _n: u64) -> HandlerResult<String> {
        Ok(ctx.promise::<String>("go").await?)
    }

    #[handler]
    async fn go(&self, ctx: SharedWorkflowContext<'_>, text: String) -> HandlerResult<()> {
        ctx.resolve_promise::<String>("go", text);
        Ok(())
    }
}
