import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { episodesOf, keyOf, turnsOf } from "./conversation.ts"
import { halves, ruleOf, taskOf, tasksOf } from "./sets.ts"
import { load, type Step } from "./Trace.ts"
import type { TracesError } from "./TracesError.ts"

const user = (text: string): Step => ({ type: "user", text })
const says = (text: string): Step => ({ type: "assistant", text })
const call = (id: string, name: string, args: string, batch = 1): Step => ({
  type: "call",
  id,
  name,
  arguments: args,
  batch
})
const result = (id: string, text: string, exception?: unknown): Step => ({ type: "result", id, text, exception })

/** Episodes in short: what the user said, and each turn as its text and calls. */
const inShort = (steps: ReadonlyArray<Step>) =>
  episodesOf(steps).map(({ said, turns }) => [
    said.join("+"),
    ...turns.map(({ calls, text }) =>
      `${text}[${calls.map(({ name, result }) => `${name}=${JSON.stringify(result?.value)}`).join()}]`
    )
  ])

describe("a trace as a conversation", () => {
  it("begins a run where the user speaks, and ends it with a reply", () => {
    assert.deepStrictEqual(
      inShort([
        user("hi"),
        says("who?"),
        user("me"),
        call("a", "get", "{}"),
        result("a", "{\"x\":1}"),
        says("done"),
        says("really"),
        user("bye")
      ]),
      [["hi", "who?[]"], ["me", "[get={\"x\":1}]", "done[]"], ["", "really[]"]]
    )
  })

  it("takes what is said right before calls as one turn with them", () => {
    assert.deepStrictEqual(
      inShort([user("hi"), says("let me see"), call("a", "get", "{}"), result("a", "none"), says("no")]),
      [["hi", "let me see[get=\"none\"]", "no[]"]]
    )
  })

  it("keeps the calls of one decision together, whenever their results came", () => {
    assert.deepStrictEqual(
      inShort([
        user("hi"),
        call("a", "get", "{}", 2),
        result("a", "1"),
        call("b", "get", "{}", 2),
        result("b", "2"),
        call("c", "get", "{}"),
        call("d", "put", "{}")
      ]),
      [["hi", "[get=1,get=2]", "[get=undefined]", "[put=undefined]"]]
    )
  })

  it("tells equal calls by tool and decoded arguments, and repeats of an id by their order", () => {
    assert.strictEqual(
      keyOf("get", { a: 1, b: { c: [2], d: 3 } }),
      keyOf("get", JSON.parse("{\"b\":{\"d\":3,\"c\":[2]},\"a\":1.0}"))
    )
    assert.notStrictEqual(keyOf("get", { a: 1 }), keyOf("get", { a: "1" }))
    assert.notStrictEqual(keyOf("get", { a: [1, 2] }), keyOf("get", { a: [2, 1] }))
    const [one, two] = episodesOf([
      call("a", "get", "{}"),
      result("a", "1"),
      call("a", "get", "{}"),
      result("a", "2", "no")
    ])[0]!
      .turns.flatMap(({ calls }) => calls)
    assert.notStrictEqual(one!.id, two!.id)
    assert.deepStrictEqual([one!.result, two!.result], [{ value: 1, isFailure: false }, {
      value: "no",
      isFailure: true
    }])
  })

  it("keeps arguments that are no object as they are, equal to no guess", () => {
    const [made] = episodesOf([call("a", "get", "{\"x\": ")])[0]!.turns[0]!.calls
    assert.deepStrictEqual(made!.params, { unreadable: "{\"x\": " })
  })
})

describe("sets", () => {
  it("reads what the issue says of tau-bench, and takes everything else for a write", () => {
    const { isRead } = ruleOf("tau-airline")
    const reads = ["get_user_details", "search_direct_flight", "list_all_airports", "calculate", "think"]
    const writes = [
      "transfer_to_human_agents",
      "book_reservation",
      "update_x",
      "cancel_x",
      "send_certificate",
      "thinker"
    ]
    assert.deepStrictEqual(reads.filter(isRead), reads)
    assert.deepStrictEqual(writes.filter(isRead), [])
  })

  it("takes no writer of the other sets for a reader", () => {
    const writes = {
      "api-bank": [
        "AddAgenda",
        "DeleteAccount",
        "ModifyPassword",
        "OpenBankAccount",
        "ForgotPassword",
        "SendEmail",
        "TimedSwitch"
      ],
      "toolbench-full": ["Finish", "create_user_for_x", "send_sms_for_x", "x_upload_for_y"],
      "swe-agent": ["edit", "python", "rm", "create", "submit", "insert", "pip"],
      "of-mine": ["book", "getaway", "write_file"]
    }
    for (const [set, names] of Object.entries(writes)) {
      assert.deepStrictEqual(names.filter(ruleOf(set).isRead), [], set)
    }
  })

  it("has the trials of a task on one side of every fold, and every trace tested once", () => {
    assert.deepStrictEqual(["a/task-3/trial-1", "a/task-3/trial-12", "a/b"].map(taskOf), ["task-3", "task-3", "b"])
    const traces = [10, 2, 1, 0].flatMap((task) => [0, 1].map((trial) => ({ task: `task-${task}`, trial })))
    assert.deepStrictEqual(tasksOf(traces), ["task-0", "task-1", "task-2", "task-10"])
    const folds = halves(traces)
    for (const { learn, test } of folds) {
      assert.deepStrictEqual(tasksOf(learn).filter((task) => tasksOf(test).includes(task)), [])
      assert.strictEqual(learn.length + test.length, traces.length)
    }
    assert.deepStrictEqual(tasksOf(folds[0]!.test), ["task-2", "task-10"])
    assert.deepStrictEqual(new Set(folds.flatMap(({ test }) => test)), new Set(traces))
  })
})

describe("a folder of traces", () => {
  const line = JSON.stringify({ id: "s/one", source: "x", steps: [user("hi"), says("hello")] })
  const nameless = JSON.stringify({
    id: "s/two",
    steps: [user("hi"), { type: "call", id: "a", name: "get", argumentsCut: "{" }]
  })

  const loaded = (files: Readonly<Record<string, string>>, only?: string) =>
    Effect.acquireUseRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "traces-"))),
      (folder) =>
        Effect.suspend(() => {
          for (const [name, text] of Object.entries(files)) {
            mkdirSync(join(folder, name, ".."), { recursive: true })
            writeFileSync(join(folder, name), text)
          }
          return load(folder, only)
        }),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
    )

  it.effect("is the data's folder or the traces' own", () =>
    Effect.gen(function*() {
      for (const files of [{ "a.jsonl": `${line}\n\n` }, { "traces/a.jsonl": line, "other/b.jsonl": "x" }]) {
        const sets = yield* loaded(files)
        assert.deepStrictEqual(sets.map(({ namesOnly, set }) => [set, namesOnly]), [["a", false]])
        assert.deepStrictEqual(sets[0]!.conversations.map((each) => turnsOf(each).length), [1])
      }
      const two = yield* loaded({ "a.jsonl": "broken", "b.jsonl": nameless }, "b")
      assert.deepStrictEqual(two.map(({ namesOnly, set }) => [set, namesOnly]), [["b", true]])
    }))

  const bad: ReadonlyArray<
    readonly [
      what: string,
      files: Readonly<Record<string, string>>,
      error: TracesError["kind"],
      says: RegExp,
      only?: string
    ]
  > = [
    ["without traces", { "readme.md": "" }, "usage", /holds no traces/],
    ["without the set asked for", { "a.jsonl": line }, "usage", /no set "b".*its sets are a/, "b"],
    [
      "with a line that is no JSON",
      { "a.jsonl": `${line}\n{"id": "x", "ste` },
      "failed",
      /a\.jsonl, line 2 is no trace/
    ],
    ["with a line that is no trace", { "a.jsonl": "{\"id\": 1, \"steps\": []}" }, "failed", /line 1 is no trace/],
    [
      "with a step of no known kind",
      { "a.jsonl": "{\"id\": \"x\", \"steps\": [{\"type\": \"guess\"}]}" },
      "failed",
      /line 1 is no trace/
    ],
    [
      "with arguments here and there",
      { "a.jsonl": `${nameless}\n${JSON.stringify({ id: "x", steps: [call("a", "b", "{}")] })}` },
      "failed",
      /some calls have arguments/
    ],
    ["with an empty file", { "a.jsonl": "" }, "failed", /holds no turn/]
  ]
  for (const [what, files, kind, says, only] of bad) {
    it.effect(`${what} is one clear error`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(loaded(files, only))
        assert.strictEqual(error.kind, kind)
        assert.match(error.message, says)
        assert.notInclude(error.message, "\n")
      }))
  }

  it.effect("that does not exist is bad usage", () =>
    Effect.map(Effect.flip(load("/does/not/exist")), (error) => {
      assert.strictEqual(error.kind, "usage")
      assert.match(error.message, /is no folder/)
    }))
})
