/**
 * Draws a run as it happens. On a terminal the waterfall is redrawn in place, at most 15 times a second; elsewhere each
 * call is one plain line when it ends; with `--json` each part is one line.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { toJson } from "../domain/ToolEvent.ts"
import type { AnyPart } from "../domain/ToolEvent.ts"
import * as Output from "./Output.ts"
import * as Waterfall from "./Waterfall.ts"

/**
 * Where parts go.
 *
 * @category models
 * @since 0.1.0
 */
export interface Screen {
  readonly show: (parts: ReadonlyArray<AnyPart>) => Effect.Effect<void>
  /** One line for the person, on standard error, beside whatever is drawn. */
  readonly note: (line: string) => Effect.Effect<void>
  /** The last picture stays. */
  readonly end: Effect.Effect<void>
}

/** One part a line. @category constructors @since 0.1.0 */
export const json: Screen = {
  show: (parts) => Output.out(parts.map((part) => `${JSON.stringify(toJson(part))}\n`).join("")),
  note: Output.complain,
  end: Effect.void
}

/** One line for each call that ended. @category constructors @since 0.1.0 */
export const plain: Effect.Effect<Screen> = Effect.map(Clock.currentTimeMillis, (now): Screen => {
  let state = Waterfall.start(now)
  const line = (part: AnyPart, now: number): string => {
    state = Waterfall.advance(state, part, now)
    const text = Waterfall.plain(state, part)
    return text === undefined ? "" : `${text}\n`
  }
  return {
    show: (parts) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => Output.out(parts.map((part) => line(part, now)).join(""))),
    note: Output.complain,
    end: Effect.void
  }
})

const frameMillis = 1000 / 15
const hideCursor = "\u001b[?25l"
/** Puts the cursor back; also written when the process is told to stop at once. @category drawing @since 0.1.0 */
export const showCursor = "\u001b[?25h"

/**
 * The live waterfall. The scope's end restores the cursor, however the run ended.
 *
 * @category constructors
 * @since 0.1.0
 */
export const live: Effect.Effect<Screen, never, Scope.Scope> = Effect.gen(function*() {
  let state = Waterfall.start(yield* Clock.currentTimeMillis)
  let height = 0
  const draw = Effect.suspend(() =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const { columns, rows } = process.stdout
      const lines = Waterfall.render(state, now, {
        columns: columns || 80,
        rows: Math.max(2, (rows || 24) - 1),
        color: true
      })
      const up = height > 0 ? `\u001b[${height}A\r` : "\r"
      height = lines.length
      return Output.out(`${up}\u001b[J${lines.join("\n")}\n`)
    })
  )
  yield* Effect.acquireRelease(Output.out(hideCursor), () => Output.out(showCursor))
  const ticker = yield* Effect.forkScoped(Effect.forever(Effect.andThen(draw, Effect.sleep(frameMillis))))
  return {
    show: (parts) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        for (const part of parts) state = Waterfall.advance(state, part, now)
      }),
    // The picture goes on below the line.
    note: (line) =>
      Effect.suspend(() => {
        const up = height > 0 ? `\u001b[${height}A\r\u001b[J` : ""
        height = 0
        return Effect.andThen(Output.out(up), Output.complain(line))
      }),
    end: Effect.andThen(Fiber.interrupt(ticker), draw)
  }
})

/** The screen that fits where standard output goes. @category constructors @since 0.1.0 */
export const make = (asJson: boolean): Effect.Effect<Screen, never, Scope.Scope> =>
  asJson ? Effect.succeed(json) : Output.canRedraw() ? live : plain
