import * as A from "./test/replay/aiSdkFixtures.ts"
import * as W from "./test/replay/wire.ts"
for (const [f, s] of [[W.replay, "wire"], [A.replay, "ai-sdk-fixtures"]] as const) {
  const t = Date.now(); const r = await f("/work/shared/data/" + s)
  console.log(s, r.tried, r.equal, Date.now() - t, "ms"); for (const x of r.failures) console.log("  ", x.id, x.why.slice(0, 500))
}
