/**
 * How a guess is let in: by the run's own places and the tool's permits, where nobody waits for them; it never lines up. The run
 * does not know of it: nothing of the run waits for a guess that no call has claimed.
 */
import type { ToolFailure } from "../../domain/ToolFailure.ts"
import type { Dispatcher } from "../Dispatcher.ts"
import { settle } from "./Attempt.ts"
import { fault } from "./Call.ts"
import type { Admission, Call, Runner } from "./Call.ts"

export class GuessAdmission implements Admission {
  private readonly dispatcher: Dispatcher
  private readonly released: (call: Call) => void
  readonly outlived: () => () => void

  /** `released`: told when the handler of a guess has really ended; `outlived`: when calls it made go on beyond that. */
  constructor(dispatcher: Dispatcher, released: (call: Call) => void, outlived: () => () => void) {
    this.dispatcher = dispatcher
    this.released = released
    this.outlived = outlived
  }

  order(call: Call, next: Runner): void {
    next(call)
  }

  admit(call: Call, next: Runner): void {
    this.dispatcher.admit(call, next)
  }

  withdraw(call: Call): void {
    call.limited?.withdraw()
  }

  refuse(call: Call, failure: ToolFailure): void {
    if (call.state === "answered" || call.state === "running" || call.reason !== undefined) return
    this.withdraw(call)
    settle(call, fault(failure))
  }

  release(call: Call): void {
    // The call that joined it is answered before others get its place: nothing is over before.
    this.dispatcher.releaseGuess(call, this.released)
  }

  abandon(call: Call): void {
    this.dispatcher.places.abandon(call)
  }

  attempting(): void {}

  attempted(): void {}

  free(): void {}
}
