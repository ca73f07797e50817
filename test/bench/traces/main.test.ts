import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { runNode } from "../../cli/process.ts"
import { contestants } from "./bench.ts"
import { Figures } from "./metrics.ts"

const main = fileURLToPath(new URL("main.ts", import.meta.url))

const trace = (task: number, trial: number): string =>
  JSON.stringify({
    id: `traces/tau-ours/task-${task}/trial-${trial}`,
    steps: [
      { type: "user", text: `I am mia_li_${1000 + task}` },
      { type: "call", id: "a", name: "get_user", arguments: JSON.stringify({ id: `mia_li_${1000 + task}` }), batch: 1 },
      { type: "result", id: "a", text: JSON.stringify({ order: `A${task}` }) },
      { type: "call", id: "b", name: "cancel", arguments: JSON.stringify({ id: `A${task}` }), batch: 1 },
      { type: "result", id: "b", text: "done" },
      { type: "assistant", text: "Done." }
    ]
  })

/** A folder with one set, by its tasks; gone when the block is left. */
const folder = (tasks: ReadonlyArray<number>, set = "tau-ours") => {
  const path = mkdtempSync(join(tmpdir(), "traces-"))
  mkdirSync(join(path, "traces"))
  writeFileSync(
    join(path, "traces", `${set}.jsonl`),
    tasks.flatMap((task) => [trace(task, 0), trace(task, 1)]).join("\n")
  )
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) }
}

const run = async (args: ReadonlyArray<string>, env: Record<string, string> = {}) => {
  using process = runNode([main, ...args], { env })
  const { code } = await process.ended
  return { code, stdout: process.stdout(), stderr: process.stderr() }
}

const timeout = 60_000

describe("bench:traces", () => {
  it("prints with --json one object a set and predictor, with exactly the keys of the issue, and nothing else", {
    timeout
  }, async () => {
    using data = folder([1, 2, 3, 4])
    const { code, stderr, stdout } = await run(["--data", data.path, "--json"])
    assert.deepStrictEqual([code, stderr], [0, ""])
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as unknown)
    const decode = Schema.decodeUnknownSync(Figures, { onExcessProperty: "error" })
    const figures = lines.map((line) => decode(line))
    assert.deepStrictEqual(
      figures.map(({ predictor, set }) => [set, predictor]),
      contestants.map(({ name }) => ["tau-ours", name])
    )
    for (const each of figures) {
      assert.deepStrictEqual([each.steps, each.turns, each.gated.threshold, each.writesStarted], [16, 24, 0.6, 0])
    }
    assert.deepStrictEqual(Object.keys(lines[0] as object), [
      ..."set predictor steps turns toolFirst wholeFirst anyStarted startsPerTurn maxStartsInATurn turnPrecision".split(
        " "
      ),
      ..."gated curve writesStarted ece".split(" ")
    ])
  })

  it("learns on --train only and tests all of --data; a task on both sides is not learned", { timeout }, async () => {
    using train = folder([1, 2, 3])
    using data = folder([3, 4])
    const { code, stderr, stdout } = await run(["--train", join(train.path, "traces"), "--data", data.path, "--json"])
    assert.strictEqual(code, 0)
    assert.match(stderr, /^bench:traces: tau-ours: 2 of 6 traces are of tasks that are tested, and not learned\n$/)
    const [first] = stdout.trimEnd().split("\n").map((line) => Schema.decodeUnknownSync(Figures)(JSON.parse(line)))
    assert.deepStrictEqual([first!.steps, first!.turns], [8, 12])
  })

  it("prints a table with the folds, the time replay and its bound without --json", { timeout }, async () => {
    using data = folder([1, 2, 3, 4])
    const { code, stdout } = await run(["--set", "tau-ours"], { TOOLFORMER_DATA: data.path })
    assert.strictEqual(code, 0)
    assert.match(stdout, /\(1\) .*: 4 traces of 2 tasks learned, 4 of 2 tested/)
    for (
      const words of [
        /a started guess is the call, of steps/,
        /tools of 0\.25 s/,
        /tools of 3 s/,
        /saved \/ bound/,
        /was guessed: yes/
      ]
    ) {
      assert.match(stdout, words)
    }
  })

  const nonsense = [
    ["an unknown option", ["--fast"], 2, /Unknown option '--fast'/],
    ["an argument too much", ["tau"], 2, /Unexpected argument 'tau'/],
    ["an option without its value", ["--data"], 2, /argument missing/],
    ["a folder that does not exist", ["--data", "/does/not/exist"], 2, /\/does\/not\/exist is no folder/],
    ["a folder to learn from that does not exist", ["--train", "/does/not/exist"], 2, /is no folder/]
  ] as const
  for (const [what, args, expected, says] of nonsense) {
    it(`says what is wrong with ${what}, in one line`, { timeout }, async () => {
      using data = folder([1])
      const { code, stderr, stdout } = await run(args, { TOOLFORMER_DATA: data.path })
      assert.strictEqual(code, expected)
      assert.match(stderr, says)
      assert.match(stderr, /^bench:traces: [^\n]*\n$/)
      assert.strictEqual(stdout, "")
    })
  }

  it("says with --help how it is used, and measures nothing", { timeout }, async () => {
    const { code, stderr, stdout } = await run(["--help"], { TOOLFORMER_DATA: "/does/not/exist" })
    assert.deepStrictEqual([code, stderr], [0, ""])
    assert.match(stdout, /^usage: npm run bench:traces -- /)
    for (const name of ["data", "train", "set", "json"]) assert.include(stdout, `\n  --${name} `)
  })

  it("says which set there is no other of, and what is damaged", { timeout }, async () => {
    using data = folder([1, 2])
    using other = folder([1], "tau-theirs")
    const none = await run(["--set", "bfcl", "--data", data.path])
    assert.deepStrictEqual([none.code, /no set "bfcl".*its sets are tau-ours/.test(none.stderr)], [2, true])
    const apart = await run(["--train", other.path, "--data", data.path])
    assert.deepStrictEqual([apart.code, apart.stderr.split("\n").length], [2, 3])
    writeFileSync(join(data.path, "traces", "tau-ours.jsonl"), "{\"id\":\"x\",\"steps\":[{\"type\"")
    const damaged = await run(["--data", data.path])
    assert.strictEqual(damaged.code, 1)
    assert.match(damaged.stderr, /^bench:traces: [^\n]*tau-ours\.jsonl, line 1 is no trace[^\n]*\n$/)
  })

  it("ends on Ctrl-C with 130 and says no more", { timeout }, async () => {
    using data = folder(Array.from({ length: 200 }, (_, task) => task))
    using process = runNode([main, "--data", data.path])
    await process.until("the first table begins", () => process.stdout().includes("tasks learned"))
    process.kill("SIGINT")
    const { code, signal } = await process.ended
    assert.deepStrictEqual([code, signal, process.stderr()], [130, null, ""])
    assert.notInclude(process.stdout(), "writes started")
  })
})
