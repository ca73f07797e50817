import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { figures, jobs, verdicts } from "./figures.ts"
import { median, time } from "./measure.ts"
import { page } from "./report.ts"
import { absolute, type Figure, ratio, type Reading, type Scenario, toIdeal } from "./scenario.ts"
import { named, scenarios } from "./scenarios/index.ts"

const none = (): Promise<ReadonlyArray<Reading>> => Promise.resolve([])

const scenario: Scenario = {
  name: "sample",
  about: "A sample.",
  sizes: [10, 20],
  repetitions: 2,
  peers: { ours: none, other: none, floor: none },
  bounds: [
    absolute("speed", { peer: "ours", n: 10, unit: "ms" }, "at most", 5),
    ratio("against other", "ms", ["ours", 10], ["other", 10], 0.4),
    toIdeal("against the ideal", { peer: "ours", n: 10, unit: "ms" }, 1.02),
    absolute("started", { peer: "ours", n: 10, unit: "calls" }, "at least", 20)
  ]
}

const figure = (peer: string, value: number, ideal: number | null = null): Figure => ({
  scenario: "sample",
  peer,
  n: 10,
  value,
  unit: "ms",
  ideal
})

const main = (args: ReadonlyArray<string>, environment: Readonly<Record<string, string>> = {}) =>
  spawnSync(process.execPath, [fileURLToPath(new URL("main.ts", import.meta.url)), ...args], {
    encoding: "utf8",
    env: { ...process.env, ...environment }
  })

describe("bench", () => {
  it("lets the peers take turns, each repetition starting with another", () => {
    const order = jobs(scenario).map(({ n, peer, repetition }) => `${n} ${repetition} ${peer}`)
    assert.deepStrictEqual(order.slice(0, 6), [
      "10 0 ours",
      "10 0 other",
      "10 0 floor",
      "10 1 other",
      "10 1 floor",
      "10 1 ours"
    ])
    assert.strictEqual(new Set(order).size, 2 * 2 * 3)
  })

  it("folds times by their median and caps by their worst", () => {
    const readings: ReadonlyArray<Reading> = [
      ...[30, 10, 20].map((value): Reading => ({ unit: "ms", value, ideal: 5, fold: "median" })),
      ...[20, 21, 20].map((value): Reading => ({ unit: "calls", value, ideal: 20, fold: "max" }))
    ]
    assert.deepStrictEqual(figures("sample", "ours", 10, readings), [
      { scenario: "sample", peer: "ours", n: 10, value: 20, unit: "ms", ideal: 5 },
      { scenario: "sample", peer: "ours", n: 10, value: 21, unit: "calls", ideal: 20 }
    ])
  })

  it("takes the mean of the two middle values of an even number", () => {
    assert.strictEqual(median([4, 1, 3, 2]), 2.5)
  })

  it("judges a bound by its figures and never takes a missing one for met", () => {
    const judged = verdicts(scenario, [figure("ours", 4.2, 4), figure("other", 8)])
    assert.deepStrictEqual(judged.map(({ measured, met }) => [measured, met]), [
      [4.2, true],
      [0.525, false],
      [1.05, false],
      [undefined, false]
    ])
  })

  it("finds one scenario by its name, a family by its beginning, else none", () => {
    const found = (name: string) => named(name).map((scenario) => scenario.name)
    assert.deepStrictEqual(found("cancel"), ["cancel"])
    assert.deepStrictEqual(found("limits"), ["limits-memory", "limits-redis", "limits-fleet"])
    assert.deepStrictEqual(found("limit"), [])
  })

  it("leaves out by name what the machine lacks", () => {
    const { status, stderr, stdout } = main(["--only", "limits-redis", "--json"], { PATH: "" })
    assert.strictEqual(status, 0)
    assert.strictEqual(stdout, "")
    assert.include(stderr, "limits-redis: skipped, it needs redis-server: apt-get install redis-server")
  })

  it("writes every bound and figure into the report", () => {
    const all = [figure("ours", 4.2, 4), figure("other", 8)]
    const setting = { machine: "a machine", versions: { node: "24" }, date: "2026-11-23" }
    const text = page(setting, [scenario], all, verdicts(scenario, all))
    assert.include(text, "| sample | speed | at most 5 ms | 4.20 ms | met |")
    assert.include(text, "| sample | against other | at most 0.4 x | 0.53 x | **not met** |")
    assert.include(text, "| sample | started | at least 20 calls | not measured | **not met** |")
    assert.include(text, "| other | 10 | 8 ms |  | 1.90 x |")
  })

  it("fails a run that skips work", async () => {
    const failure = await time(() => Promise.resolve(999), 1000).then(() => undefined, (error: Error) => error.message)
    assert.strictEqual(failure, "expected 1000 tool results, got 999")
  })

  it("answers an unknown scenario with exit code 2 and the list", () => {
    const { status, stderr, stdout } = main(["--only", "nope", "--json"])
    assert.strictEqual(status, 2)
    assert.strictEqual(stdout, "")
    for (const { name } of scenarios) assert.include(stderr, name)
  })
})
