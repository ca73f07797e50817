/**
 * Two models over real HTTP: the faster one says after 100 ms what the main one will ask for after a second, and is right with
 * probability 0.8. How much of the calls' time is saved, whether the results are the same, and how soon a wrong guess is stopped: after
 * the seal that refutes it (the call starts in that step, so its handler's start stands for it), and after the server wrote that call's
 * end mark, where sockets and decoding are in the time.
 */
import { random } from "../../random.ts"
import { reading } from "../measure.ts"
import type { Bound, Measure, Reading, Scenario } from "../scenario.ts"
import { absolute } from "../scenario.ts"
import { type Script, serve, type Server } from "../twoModels.ts"

const steps = 10
const callMillis = 800
const mainMillis = 1000
const fastMillis = 100
const probability = 0.8

// With this seed the faster model is right in eight steps of ten, as its probability says.
const seed = 24

// What nobody asked for takes so long that it is still at work when it is refuted.
const isWrong = (page: number): boolean => page > 1000
const wrongMillis = 5000

const draw = random(seed)
const called = Array.from({ length: steps }, (_, step) => step + 1)
const guessed = called.map((page) => draw.chance(probability) ? page : 1000 + page)
const right = guessed.filter((page) => !isWrong(page)).length

const script: Script = { called, guessed, mainMillis, fastMillis, pace: 1 }

// No guess can save more of a step than its call takes.
const mostSaved = (probability * callMillis) / (mainMillis + callMillis) * 100

/** What became of the guesses that were wrong. */
interface Wrong {
  started: number
  /** By step: when its call began, and when the guess's signal fired. */
  readonly calledAt: Array<number>
  readonly stoppedAt: Map<number, number>
}

const working = (server: Server, wrong: Wrong) => async (page: number, signal: AbortSignal): Promise<string> => {
  const isGuess = isWrong(page)
  if (isGuess) wrong.started++
  else wrong.calledAt[page - 1] = performance.now()
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, (isGuess ? wrongMillis : callMillis) * server.script.pace)
    signal.addEventListener("abort", () => {
      wrong.stoppedAt.set(page - 1001, performance.now())
      clearTimeout(timer)
      resolve()
    }, { once: true })
  })
  return `page ${page}`
}

const timed = async (server: Server, speculates: boolean) => {
  const { run } = await import("../sides/speculating.ts")
  const wrong: Wrong = { started: 0, calledAt: [], stoppedAt: new Map() }
  server.sealedAt = []
  const started = performance.now()
  const ran = await run(server, steps, working(server, wrong), speculates)
  const millis = performance.now() - started
  if (ran.results !== steps) throw new Error(`expected ${steps} tool results, got ${ran.results}`)
  return { ...ran, millis, wrong, sealedAt: server.sealedAt }
}

const measure = (speculates: boolean): Measure => async () => {
  const server = await serve({ ...script, pace: 0.02 })
  try {
    // Warm-ups, and the results of the one without speculation: what a run says does not depend on its times.
    await timed(server, true)
    const without = await timed(server, false)
    server.script = script
    const run = await timed(server, speculates)
    if (run.said !== without.said) throw new Error(`other results than without:\n${run.said}\n${without.said}`)
    return speculates ? withGuesses(run) : [reading("ms", run.millis, steps * (mainMillis + callMillis))]
  } finally {
    server.close()
  }
}

const withGuesses = (
  { millis, sealedAt, speculation, wrong }: Awaited<ReturnType<typeof timed>>
): ReadonlyArray<Reading> => {
  const entries = speculation?.entries.filter(({ predictor }) => predictor === "model") ?? []
  const hits = entries.reduce((sum, entry) => sum + entry.hit + entry.lateHit, 0)
  const stopped = [...wrong.stoppedAt]
  if (wrong.started !== steps - right || stopped.length !== wrong.started) {
    throw new Error(
      `seed ${seed}: ${wrong.started} of ${steps - right} wrong guesses started, ${stopped.length} were stopped`
    )
  }
  const latest = (times: ReadonlyArray<number>) => Math.max(...stopped.map(([step, at]) => at - times[step]!))
  return [
    reading("ms", millis, steps * mainMillis + (steps - right) * callMillis),
    { unit: "hits", value: hits, ideal: right, fold: "min" },
    { unit: "ms late", value: Math.max(0, latest(wrong.calledAt)), ideal: 0, fold: "max" },
    { unit: "ms from the wire", value: latest(sealedAt), ideal: 0, fold: "max" }
  ]
}

const saved: Bound = {
  what: `time saved, of at most ${probability} x ${callMillis} / ${mainMillis + callMillis} = ${
    mostSaved.toFixed(1)
  } %`,
  compare: "at least",
  limit: Number((0.9 * mostSaved).toFixed(2)),
  unit: "% saved",
  measure: (find) => {
    const [ours, without] = [find("ours", steps, "ms"), find("without", steps, "ms")]
    return ours === undefined || without === undefined ? undefined : (1 - ours.value / without.value) * 100
  }
}

/** Milliseconds of ten steps, the guesses that were claimed, and how late the slowest wrong guess was stopped. */
export const speculationTwoModels: Scenario = {
  name: "speculation-two-models",
  about:
    `N steps of one call of ${callMillis} ms each, over HTTP on the Responses API; the main model takes ${mainMillis} ms a step. ours: `
    + `with a faster model that answers in ${fastMillis} ms and is right with probability ${probability} (seed ${seed}: `
    + `${right} of ${steps}); without: no speculation. Both give the same results and history, byte for byte, or the measurement `
    + "fails. hits: calls that had the outcome of a guess. ms late: from the start of the call that refutes a wrong guess, in the step of "
    + "its seal, to the abort of that guess's signal, the slowest; ms from the wire: the same from the server's end mark of that call.",
  sizes: [steps],
  repetitions: 2,
  peers: { ours: measure(true), without: measure(false) },
  bounds: [
    saved,
    absolute(
      "a wrong guess stopped after the seal that refutes it",
      { peer: "ours", n: steps, unit: "ms late" },
      "at most",
      5
    )
  ]
}
