/**
 * A provider for the adapter's tests: one server for a file, each test mounts its own answers.
 */
import { afterAll, beforeAll } from "@effect/vitest"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import { start } from "../replay/server.ts"
import type { Answer, Provider, Seen, Server } from "../replay/server.ts"

/** Starts the server for the tests of a file. */
export const provider = (): (options: Partial<OpenAi.Options>, answer: Provider | Answer) => {
  readonly layer: ReturnType<typeof OpenAi.layer>
  readonly seen: ReadonlyArray<Seen>
  readonly baseURL: string
} => {
  let server: Server
  beforeAll(async () => void (server = await start()))
  afterAll(() => server.close())
  return (options, answer) => {
    const { baseURL, seen } = server.mount(typeof answer === "function" ? answer : () => answer)
    return { layer: OpenAi.layer({ model: "m", baseURL, ...options }), seen, baseURL }
  }
}
