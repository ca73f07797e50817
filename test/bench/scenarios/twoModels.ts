/**
 * Two models over real HTTP: the faster one says after 100 ms what the main one will ask for after a second, and is right with
 * probability 0.8. How much of the calls' time is saved, whether the results are the same, and how soon a wrong guess is stopped. A
 * seal is the moment the server wrote the call's end mark, so sockets and decoding are in that time.
 */
import { random } from "../../random.ts"
import { reading, sleep } from "../measure.ts"
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
  readonly stoppedAfter: Array<number>
}

const working = (server: Server, wrong: Wrong) => async (page: number, signal: AbortSignal): Promise<string> => {
  const isGuess = isWrong(page)
  if (isGuess) wrong.started++
  const millis = (isGuess ? wrongMillis : callMillis) * server.script.pace
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, millis)
    signal.addEventListener("abort", () => {
      const at = performance.now()
      clearTimeout(timer)
      // The server notes a seal after it has written it, which may be after the client has read it.
      void sleep(0).then(() => wrong.stoppedAfter.push(at - server.sealedAt[page - 1001]!))
      resolve()
    }, { once: true })
  })
  return `page ${page}`
}

const timed = async (server: Server, speculates: boolean) => {
  const { run } = await import("../sides/speculating.ts")
  const wrong: Wrong = { started: 0, stoppedAfter: [] }
  server.sealedAt = []
  const started = performance.now()
  const ran = await run(server, steps, working(server, wrong), speculates)
  const millis = performance.now() - started
  if (ran.results !== steps) throw new Error(`expected ${steps} tool results, got ${ran.results}`)
  await sleep(10)
  return { ...ran, millis, wrong }
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

const withGuesses = ({ millis, speculation, wrong }: Awaited<ReturnType<typeof timed>>): ReadonlyArray<Reading> => {
  const entries = speculation?.entries.filter(({ predictor }) => predictor === "model") ?? []
  const hits = entries.reduce((sum, entry) => sum + entry.hit + entry.lateHit, 0)
  if (wrong.started !== steps - right || wrong.stoppedAfter.length !== wrong.started) {
    throw new Error(
      `seed ${seed}: ${wrong.started} of ${steps - right} wrong guesses started, `
        + `${wrong.stoppedAfter.length} were stopped`
    )
  }
  return [
    reading("ms", millis, steps * mainMillis + (steps - right) * callMillis),
    { unit: "hits", value: hits, ideal: right, fold: "min" },
    { unit: "ms late", value: Math.max(...wrong.stoppedAfter), ideal: 0, fold: "max" }
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
    + "fails. hits: calls that had the outcome of a guess. ms late: from the server's end mark of the call that refutes a wrong guess "
    + "to the abort of that guess's signal, the slowest.",
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
