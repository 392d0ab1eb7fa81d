//! `openclaw gateway usage-cost`: tokens and cost as the gateway has counted them (cli 4.7).

use serde_json::{Value, json};

use super::Context;
use super::call::gateway_flags;
use super::context::{Call, TIMEOUT_MS, positive};
use super::output::{json_pretty, plain, short_count};
use super::tree::{Gateway, GatewayUsageCost};
use crate::error::Result;
use crate::out;

const DEFAULT_DAYS: u64 = 30;

pub fn run(cx: &Context, group: &Gateway, args: &GatewayUsageCost) -> Result<u8> {
    let days = positive(args.days.as_deref(), "--days", "days")?.unwrap_or(DEFAULT_DAYS);
    let call = Call {
        flags: gateway_flags(&args.url, &args.token, &args.password, group),
        timeout: args.timeout.as_deref(),
        default_ms: TIMEOUT_MS,
        prefix: "Gateway usage cost failed: Error: ",
        expect_final: args.expect_final,
    };
    let payload = cx.call(&call, "usage.cost", Some(json!({"days": days})))?;
    match args.json {
        true => out!("{}", json_pretty(&payload)),
        false => lines(days, &payload).iter().for_each(|line| out!("{line}")),
    }
    Ok(0)
}

fn lines(days: u64, payload: &Value) -> Vec<String> {
    let amount = |of: &Value| {
        let tokens = of["totalTokens"].as_u64().unwrap_or(0);
        format!("${:.4} · {} tokens", of["totalCost"].as_f64().unwrap_or(0.0), short_count(tokens))
    };
    let mut lines = vec![format!("Usage cost ({days} days)"), format!("Total: {}", amount(&payload["totals"]))];
    if let Some(missing) = payload["totals"]["missingCostEntries"].as_u64().filter(|missing| *missing > 0) {
        lines.push(format!("Missing entries: {missing}"));
    }
    if let Some(day) = payload["daily"].as_array().and_then(|daily| daily.last()) {
        lines.push(format!("Latest day: {} · {}", plain(day["date"].as_str().unwrap_or("?")), amount(day)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_recorded_and_with_days() {
        let none = json!({"daily": [], "totals": {"totalTokens": 0, "totalCost": 0, "missingCostEntries": 0}});
        assert_eq!(lines(30, &none), ["Usage cost (30 days)", "Total: $0.0000 · 0 tokens"]);
        let some = json!({
            "daily": [{"date": "2026-11-20", "totalTokens": 12, "totalCost": 0.5}],
            "totals": {"totalTokens": 12, "totalCost": 0.5, "missingCostEntries": 2},
        });
        assert_eq!(
            lines(2, &some)[1..],
            ["Total: $0.5000 · 12 tokens", "Missing entries: 2", "Latest day: 2026-11-20 · $0.5000 · 12 tokens"]
        );
    }
}
