/**
 * T10: tools that call tools, drawn from recorded graphs of what can feed what. Nodes fail at random, by a seed; what a failed
 * call had under it ends, what has nothing to do with it goes on. (A `Skipped` node belongs to plans, which are not built yet.)
 */
import { assert, describe, it } from "@effect/vitest"
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { compile } from "../../src/engine/internal/CompiledTool.ts"
import { Executor, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { describeData } from "../data.ts"
import { scripted } from "../model.ts"
import { random } from "../random.ts"
import { failureOf, status } from "../stage.ts"

interface Graph {
  readonly nodes: ReadonlyArray<{ readonly id: string }>
  readonly links: ReadonlyArray<{ readonly source: string; readonly target: string }>
}

/** One call and the calls its handler makes: all at once, or one after the other. */
interface Node {
  readonly path: string
  readonly tool: string
  readonly millis: number
  /** Fails before it has called anybody, or when all it called have ended. */
  readonly fails: "before" | "after" | "never"
  readonly inTurn: boolean
  readonly under: ReadonlyArray<Node>
}

const nameOf = (id: string): string => id.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_")

/** A tree of at most `depth` levels along the links from `tool`. */
const draw = (
  r: ReturnType<typeof random>,
  next: ReadonlyMap<string, ReadonlyArray<string>>,
  tool: string,
  path: string,
  depth: number,
  isFaulty: boolean
): Node => {
  const targets = depth === 0 ? [] : next.get(tool) ?? []
  const wanted = targets.length === 0 ? 0 : r.int(0, Math.min(3, targets.length))
  const under = Array.from(
    { length: wanted },
    (_, i) => draw(r, next, r.pick(targets), `${path}.${i}`, depth - 1, isFaulty)
  )
  const fails = isFaulty && r.chance(0.15) ? r.pick(["before", "after"] as const) : "never"
  return { path, tool, millis: r.int(1, 50), fails, inTurn: r.chance(0.3), under }
}

const all = (node: Node): ReadonlyArray<Node> => [node, ...node.under.flatMap(all)]

/** When a node ends, from its start, and whether well. */
const fate = (node: Node): { readonly millis: number; readonly ok: boolean } => {
  if (node.fails === "before") return { millis: node.millis, ok: false }
  const fates = node.under.map(fate)
  const failed = fates.filter(({ ok }) => !ok)
  let spent = 0
  if (node.inTurn) {
    for (const { millis, ok } of fates) {
      spent += millis
      if (!ok) return { millis: node.millis + spent, ok: false }
    }
  } else {
    if (failed.length > 0) return { millis: node.millis + Math.min(...failed.map(({ millis }) => millis)), ok: false }
    spent = Math.max(0, ...fates.map(({ millis }) => millis))
  }
  return { millis: node.millis + spent, ok: node.fails !== "after" }
}

const Params = Schema.Struct({ path: Schema.String })

/** The toolkit of a graph, and what its handlers are seen to do. */
const toolsOf = (graph: Graph, roots: ReadonlyArray<Node>) => {
  const nodes = new Map(roots.flatMap(all).map((node) => [node.path, node]))
  const started: Array<string> = []
  const running = new Set<string>()
  const orphans: Array<string> = []
  const handler = ({ path }: typeof Params.Type): Effect.Effect<string, string> => {
    const node = nodes.get(path)!
    const under = node.under.map((child) =>
      Executor.call(tools[child.tool]!, { path: child.path }) as Effect.Effect<string, string>
    )
    return Effect.gen(function*() {
      started.push(path)
      running.add(path)
      yield* Effect.sleep(node.millis)
      if (node.fails === "before") return yield* Effect.fail(`${path} fails`)
      yield* Effect.all(under, { concurrency: node.inTurn ? 1 : "unbounded" })
      return node.fails === "after" ? yield* Effect.fail(`${path} fails`) : path
    }).pipe(Effect.ensuring(Effect.sync(() => {
      running.delete(path)
      for (const other of running) if (other.startsWith(`${path}.`)) orphans.push(other)
    })))
  }
  const { layer, toolkit } = ToolPolicy.define(Object.fromEntries(
    graph.nodes.map(({ id }) => [
      nameOf(id),
      ToolPolicy.tool({
        parameters: Params,
        success: Schema.String,
        failure: Schema.Unknown,
        annotations: { concurrency: 40 },
        handler
      })
    ])
  ))
  const tools: Readonly<Record<string, Tool.Any>> = toolkit.tools
  return { layer, toolkit, tools, started, running, orphans }
}

const plan = (graph: Graph, seed: number) => {
  const r = random(seed)
  const next = new Map<string, Array<string>>()
  for (const { source, target } of graph.links) {
    if (source === target) continue
    next.set(nameOf(source), [...next.get(nameOf(source)) ?? [], nameOf(target)])
  }
  const known = new Set(graph.nodes.map(({ id }) => nameOf(id)))
  for (const [source, targets] of next) next.set(source, targets.filter((target) => known.has(target)))
  const roots = Array.from(
    { length: r.int(2, 5) },
    (_, i) => draw(r, next, r.pick([...known]), `r${i}`, r.int(1, 4), i > 0)
  )
  return roots
}

describeData("tool-graphs", "T10: tools drawn from recorded graphs", (folder) => {
  const graphs = readdirSync(folder)
    .filter((file) => file.endsWith(".graph_desc.json"))
    .map((file) => ({ file, graph: JSON.parse(readFileSync(join(folder, file), "utf8")) as Graph }))

  it("T10: there are graphs", () => assert.isAbove(graphs.length, 0))

  for (const { file, graph } of graphs) {
    it.effect(`T10: a failed call takes down those under it and nobody else (${file})`, () =>
      Effect.gen(function*() {
        const seen = { failed: 0, unstarted: 0, calls: 0 }
        for (let seed = 1; seed <= 60; seed++) {
          const roots = plan(graph, seed)
          const { layer, orphans, running, started, toolkit, tools } = toolsOf(graph, roots)
          const run = Orchestrator.run({ prompt: "go", toolkit }).pipe(
            Effect.provide([layer, scripted(roots.map(({ path, tool }) => ToolCall(tool, { path }, { id: path })))])
          )
          const fiber = yield* Effect.forkChild(run)
          yield* TestClock.adjust("1 minute")
          const { report, toolResults } = yield* Fiber.join(fiber)
          const where = `${file}, seed ${seed}`
          for (const root of roots) {
            const { millis, ok } = fate(root)
            const result = toolResults.find(({ id }) => id === root.path)!
            assert.strictEqual(status(result) === "ok", ok, `${where}: ${root.path}`)
            const { runMillis } = report.calls.find(({ callId }) => callId === root.path)!
            assert.strictEqual(runMillis, millis, `${where}: ${root.path} ends when it should`)
            if (!ok) seen.failed++
          }
          assert.strictEqual(new Set(started).size, started.length, `${where}: nothing starts twice`)
          assert.deepStrictEqual(orphans, [], `${where}: nothing goes on under a call that has ended`)
          assert.deepStrictEqual([...running], [], where)
          for (const tool of Object.values(tools)) assert.strictEqual(compile(tool).permits!.used, 0, where)
          const nodes = roots.flatMap(all)
          seen.calls += nodes.length
          seen.unstarted += nodes.length - started.length
          // What succeeded as a whole was done as a whole.
          for (const root of roots) {
            if (fate(root).ok) { for (const { path } of all(root)) assert.include(started, path, where) }
          }
        }
        assert.isAbove(seen.failed, 20)
        assert.isAbove(seen.unstarted, 20)
        assert.isAbove(seen.calls, 500)
      }), 60_000)
  }

  it.effect("T10: a call of a tool whose layer is not there fails, typed, and names the layer; its siblings go on", () => {
    const { toolkit: absent } = ToolPolicy.define({
      elsewhere: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("never here") })
    })
    const { layer, toolkit } = ToolPolicy.define({
      asks: ToolPolicy.tool({
        success: Schema.String,
        failure: Schema.Unknown,
        handler: () => Executor.call(absent.tools.elsewhere, {}) as Effect.Effect<string, unknown>
      }),
      works: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
    })
    return Effect.gen(function*() {
      const { toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit })
      assert.deepStrictEqual(
        toolResults.map((result) => [result.id, status(result)]),
        [["a", "HandlerFailed"], ["b", "ok"]]
      )
      const failure = failureOf(toolResults, "a")
      assert.strictEqual(failure["tool"], "elsewhere")
      assert.include(String(failure["message"]), "no handler for \"elsewhere\": provide its toolkit's layer")
    }).pipe(Effect.provide([layer, scripted([ToolCall("asks", {}, { id: "a" }), ToolCall("works", {}, { id: "b" })])]))
  })
})

describe("T10: a circle of calls", () => {
  it.effect("T10: ends, gives every permit back, and its siblings go on", () => {
    const { layer, toolkit } = ToolPolicy.define({
      round: ToolPolicy.tool({
        success: Schema.String,
        failure: Schema.Unknown,
        annotations: { concurrency: 1 },
        handler: (): Effect.Effect<string, unknown> =>
          Effect.suspend(() => Executor.call(tools["round"]!, {}) as Effect.Effect<string, unknown>)
      }),
      works: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.as(Effect.sleep(10), "fine") })
    })
    const tools: Readonly<Record<string, Tool.Any>> = toolkit.tools
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("1 minute")
      const { toolResults } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(toolResults.map((result) => `${result.id} ${status(result)}`), ["a Rejected", "b ok"])
      assert.strictEqual(compile(tools["round"]!).permits!.used, 0)
    }).pipe(Effect.provide([layer, scripted([ToolCall("round", {}, { id: "a" }), ToolCall("works", {}, { id: "b" })])]))
  })
})
