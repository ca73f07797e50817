import { assert, describe, it } from "@effect/vitest"
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { chunk, ending, lines } from "./process.ts"
import type { Line } from "./process.ts"

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))
const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}.ts`, import.meta.url))

const environment = (more: Record<string, string> = {}): NodeJS.ProcessEnv => {
  const inherited = Object.entries(process.env).filter(([name]) =>
    !name.startsWith("OPENAI_") && !name.startsWith("TOOLFORMER_") &&
    !["NO_COLOR", "FORCE_COLOR"].includes(name)
  )
  return { ...Object.fromEntries(inherited), ...more }
}

interface Ended {
  readonly code: number | null
  readonly signal?: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

const toolformer = (
  args: ReadonlyArray<string>,
  options: { readonly cwd?: string; readonly env?: Record<string, string> } = {}
): Ended => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [main, ...args], {
    cwd: options.cwd ?? process.cwd(),
    env: environment(options.env),
    encoding: "utf8",
    maxBuffer: 1 << 28
  })
  return { code: status, stdout, stderr }
}

// Starts the command, lets `act` work on it as its output grows, and gives its end.
const interactive = (
  command: string,
  args: ReadonlyArray<string>,
  env: Record<string, string>,
  act: (stdout: string, child: ReturnType<typeof spawn>) => boolean
): Promise<Ended> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { env: environment(env), stdio: ["pipe", "pipe", "pipe"] })
    const output = { stdout: "", stderr: "" }
    let acted = false
    child.stdout.on("data", (chunk) => {
      output.stdout += String(chunk)
      if (!acted) acted = act(output.stdout, child)
    })
    child.stderr.on("data", (chunk) => output.stderr += String(chunk))
    child.on("close", (code, signal) => resolve({ code, signal, ...output }))
  })

const temporary = (): { readonly path: string; readonly [Symbol.dispose]: () => void } => {
  const path = mkdtempSync(join(tmpdir(), "toolformer-command-"))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

// A server on loopback; an answer of undefined is a refusal, a number that status.
const serve = async (answer: (url: string | undefined, body: string) => string | number | undefined) => {
  const server = createServer((request, response) => {
    let body = ""
    request.on("data", (chunk) => (body += String(chunk)))
    request.on("end", () => {
      const answered = answer(request.url, body)
      const isText = typeof answered === "string"
      response.writeHead(isText ? 200 : answered ?? 401, {
        "content-type": isText ? "text/event-stream" : "application/json"
      })
      response.end(isText ? answered : "{\"error\":{\"message\":\"who are you?\"}}")
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  const close = () => new Promise<void>((resolve) => server.close(() => resolve()))
  return { url: `http://127.0.0.1:${port}/v1`, [Symbol.asyncDispose]: close }
}

// A whole answer of Chat Completions.
const chat = (deltas: ReadonlyArray<object>, reason: string): string =>
  `${deltas.map((delta) => chunk(delta)).join("")}${ending(reason)}`

const sites = (
  ...urls: ReadonlyArray<string>
) => ["run", `Check ${urls.join(" and ")}`, "--tools", fixture("siteTools")]

describe("toolformer", () => {
  describe("run", () => {
    it("does something real at once over the current folder, in plain lines where there is no terminal", () => {
      using folder = temporary()
      writeFileSync(join(folder.path, "package.json"), JSON.stringify({ name: "somewhere", version: "3.2.1" }))
      writeFileSync(join(folder.path, "a.ts"), "export const a = 1\n")
      const { code, stderr, stdout } = toolformer(["run", "Show the package facts and analyse a.ts"], {
        cwd: folder.path
      })
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      assert.match(stdout, /^step 1\n(?:done +[\d.]+ m?s {2}(?:package_facts|analyse_file a\.ts)\n){2}step 2\n/)
      assert.include(stdout, "name somewhere, version 3.2.1")
      assert.match(stdout, /\n2 tool calls, at most \d at once, in .*\n$/)
      assert.notInclude(stdout, "\u001b")
    })

    it("finishes with exit code 0 when a call failed, and says so", () => {
      const { code, stdout } = toolformer(sites("https://bad.example", "https://a.example"))
      assert.strictEqual(code, 0)
      assert.match(stdout, /^failed .* check_site https:\/\/bad\.example$/m)
      assert.include(stdout, "https://bad.example: failed: no answer")
      assert.include(stdout, "2 tool calls, 1 not successful")
    })

    it("keeps calls under --max-parallel", () => {
      const urls = Array.from({ length: 12 }, (_, i) => `https://s${i}.example`)
      const { stdout } = toolformer([...sites(...urls), "--max-parallel", "1", "--json"])
      const report = lines(stdout).at(-1)!["report"] as { peakConcurrency: number; calls: ReadonlyArray<unknown> }
      assert.strictEqual(report.peakConcurrency, 1)
      assert.strictEqual(report.calls.length, 12)
    })
  })

  describe("--json", () => {
    it("leaves what handlers log to standard error", () => {
      const { code, stderr, stdout } = toolformer([...sites("https://chatty.example"), "--json"])
      assert.strictEqual(code, 0)
      assert.include(stderr, "a remark")
      assert.strictEqual(lines(stdout).at(-1)!.type, "run-finish")
    })

    it("prints one part per line, the run's end last, and nothing else", () => {
      const { code, stderr, stdout } = toolformer([...sites("https://a.example", "https://bad.example"), "--json"])
      assert.strictEqual(code, 0)
      assert.strictEqual(stderr, "")
      const parts = lines(stdout)
      assert.isTrue(stdout.endsWith("\n"))
      assert.strictEqual(parts[0]!.type, "run-start")
      const last = parts.at(-1)!
      assert.strictEqual(last.type, "run-finish")
      for (const key of ["text", "finishReason", "usage", "report"]) assert.property(last, key)
      assert.notProperty(last, "prompt")
      const idOf = (part: Line) => String(part["id"])
      const calls = parts.filter((part) => part.type === "tool-call").map(idOf)
      const results = parts.filter((part) => part.type === "tool-result")
      assert.deepStrictEqual(results.map(idOf).toSorted(), calls.toSorted())
      assert.deepStrictEqual(results.map((part) => String(part["isFailure"])).toSorted(), ["false", "true"])
    })

    it("ends quietly when its reader has had enough", async () => {
      const urls = Array.from({ length: 200 }, (_, i) => `https://s${i}.example`)
      const args = [main, ...sites(...urls, "https://slow.example"), "--json"]
      const { code, stderr } = await interactive(process.execPath, args, {}, (stdout, child) => {
        if (!stdout.includes("\n")) return false
        child.stdout!.destroy()
        return true
      })
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
    })
  })

  describe("bad usage", () => {
    const bad: ReadonlyArray<
      readonly [name: string, args: ReadonlyArray<string>, message: RegExp, env?: Record<string, string>]
    > = [
      ["no prompt", ["run"], /prompt/],
      ["an empty prompt", ["run", "  "], /the prompt is empty/],
      ["a flag that does not exist", ["run", "x", "--bogus"], /--bogus/],
      ["a subcommand that does not exist", ["fly"], /fly/],
      ["no place for a call", ["run", "x", "--max-parallel", "0"], /--max-parallel is 0; it must be at least 1/],
      ["a number that is none", ["run", "x", "--max-parallel", "many"], /--max-parallel/],
      ["a grace that is no length of time", ["run", "x", "--grace", "soon"], /--grace is "soon"; write it as/],
      ["a grace without a unit", ["run", "x", "--grace", "5"], /--grace is "5"; write it as "5 seconds"/],
      ["a grace without an end", ["run", "x", "--grace", "Infinity"], /--grace is "Infinity"/],
      ["a grace below zero", ["demo"], /TOOLFORMER_GRACE is "-1 seconds"/, { TOOLFORMER_GRACE: "-1 seconds" }],
      ["a provider that does not exist", ["run", "x", "--provider", "oracle"], /unknown provider "oracle"/],
      ["a provider that is not built", ["run", "x", "--provider", "anthropic"], /anthropic provider is not built yet/],
      ["openai without a key", ["run", "x", "--provider", "openai"], /OPENAI_API_KEY/],
      ["a base URL that is none", ["run", "x"], /is not a URL/, { OPENAI_BASE_URL: "nowhere" }],
      ["a limit with a misspelt name", ["run", "x"], /TOOLFORMER_LIMIT_GLOBL: there is no such setting/, {
        TOOLFORMER_LIMIT_GLOBL: "5 at once"
      }],
      ["a retry with a misspelt name", ["run", "x"], /TOOLFORMER_RETRY_ATEMPTS: there is no such setting/, {
        TOOLFORMER_RETRY_ATEMPTS: "5"
      }],
      ["a limit that is none", ["run", "x"], /TOOLFORMER_LIMIT_GLOBAL: "5": this is no rule; write it as/, {
        TOOLFORMER_LIMIT_GLOBAL: "5"
      }],
      ["a tools file that is missing", ["run", "x", "--tools", "nope.ts"], /nope\.ts cannot be read: NotFound/],
      ["a tools file that is a folder", ["run", "x", "--tools", "src"], /is not a file/],
      ["a tools file that does not load", ["run", "x", "--tools", fixture("throws")], /does not load: cannot start/],
      ["a tools file without a layer", ["run", "x", "--tools", fixture("noLayer")], /"layer"/]
    ]
    for (const [name, args, message, env] of bad) {
      it(`is ${name}: exit code 2, one line on stderr, nothing on stdout`, () => {
        const { code, stderr, stdout } = toolformer(args, env === undefined ? {} : { env })
        assert.strictEqual(code, 2, stderr)
        assert.strictEqual(stdout, "")
        assert.match(stderr, message)
        assert.match(stderr, /^toolformer: [^\n]+\n$/)
      })
    }
  })

  it("fails with exit code 1 and one line when the handlers cannot be built", () => {
    const { code, stderr } = toolformer(["run", "Check https://a.example", "--tools", fixture("brokenLayer")])
    assert.strictEqual(code, 1)
    assert.strictEqual(stderr, "toolformer: no database at db.local\n")
  })

  describe("TOOLFORMER_LIMIT_*", () => {
    const ask = (env: Record<string, string>, tools = "siteTools") =>
      toolformer(["run", "Check https://a.example and https://b.example", "--tools", fixture(tools)], { env })

    it("limits the model's turns and the calls of a run", () => {
      const turns = ask({ TOOLFORMER_LIMIT_SERVICE_LOCAL: "1 calls / 1 hour", TOOLFORMER_LIMIT_ON_EXCEEDED: "fail" })
      assert.strictEqual(turns.code, 1)
      assert.match(turns.stderr, /^toolformer: The model was not asked: service "local", 1 call \/ 1 hour[^\n]*\n$/)
      const calls = ask({ TOOLFORMER_LIMIT_GLOBAL: "1 at once", TOOLFORMER_LIMIT_ON_EXCEEDED: "fail" })
      assert.match(calls.stdout, /check_site was not started: global, 1 at once/)
      const waiting = ask({ TOOLFORMER_LIMIT_GLOBAL: "1 at once" })
      assert.match(waiting.stdout, /2 tool calls, at most 1 at once/)
    })

    it("wins over a limiter that the tools file brings", () => {
      assert.strictEqual(ask({}, "limitedTools").code, 1)
      assert.strictEqual(ask({ TOOLFORMER_LIMIT_GLOBAL: "5 at once" }, "limitedTools").code, 0)
    })
  })

  it("prints help and version when asked, on stdout", () => {
    const help = toolformer(["run", "--help"])
    assert.strictEqual(help.code, 0)
    for (
      const flag of [
        "--tools",
        "--provider",
        "--model",
        "--base-url",
        "--api",
        "--max-parallel",
        "--json",
        "--grace",
        "TOOLFORMER_LIMIT_"
      ]
    ) {
      assert.include(help.stdout, flag)
    }
    const version = toolformer(["--version"])
    assert.deepStrictEqual({ ...version, stdout: version.stdout.trim() }, {
      code: 0,
      stdout: "toolformer v0.1.0",
      stderr: ""
    })
  })

  describe("with a server that speaks OpenAI's API", () => {
    const asked = ["run", "Are the sites up?", "--tools", fixture("siteTools"), "--model", "m"]

    it("lets the server's model choose the calls, and prints its answer", async () => {
      const requests: Array<{ readonly url: string | undefined; readonly body: string }> = []
      await using server = await serve((url, body) => {
        requests.push({ url, body })
        return chat(
          requests.length === 1 ?
            [
              {
                tool_calls: [{
                  index: 0,
                  id: "c1",
                  type: "function",
                  function: { name: "check_site", arguments: "{\"url\":" }
                }]
              },
              { tool_calls: [{ index: 0, function: { arguments: "\"https://a.example\"}" } }] }
            ] :
            [{ content: "It is " }, { content: "up." }],
          requests.length === 1 ? "tool_calls" : "stop"
        )
      })
      const { code, stderr, stdout } = await interactive(
        process.execPath,
        [main, ...asked, "--base-url", server.url],
        {},
        () => true
      )
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      assert.match(stdout, /^done .* check_site https:\/\/a\.example$/m)
      assert.include(stdout, "\nIt is up.\n")
      assert.deepStrictEqual(requests.map(({ url }) => url), ["/v1/chat/completions", "/v1/chat/completions"])
      assert.include(requests[1]!.body, "https://a.example answers")
    })

    it("asks again where the server is busy, as often as the environment says", async () => {
      const told: Array<string> = []
      await using server = await serve((_, body) => {
        told.push(body)
        return told.length < 3 ? 503 : chat([{ content: "Here." }], "stop")
      })
      const env = { OPENAI_MODEL: "m", TOOLFORMER_RETRY_BASE: "5 millis" }
      const args = [main, ...asked, "--base-url", server.url, "--json"]
      const { code, stdout } = await interactive(process.execPath, args, env, () => true)
      assert.strictEqual(code, 0)
      assert.strictEqual(lines(stdout).filter(({ type }) => type === "step-retry").length, 2)
      assert.deepInclude(lines(stdout).at(-1), { text: "Here." })
      told.length = 0
      const once = await interactive(process.execPath, args, { ...env, TOOLFORMER_RETRY_ATTEMPTS: "1" }, () => true)
      assert.strictEqual(once.code, 1)
      assert.strictEqual(told.length, 1)
    })

    it("fails with exit code 1 and one line that shows no key when the server refuses", async () => {
      await using server = await serve(() => undefined)
      const env = { OPENAI_API_KEY: "sk-secret-canary" }
      const { code, stderr, stdout } = await interactive(
        process.execPath,
        [main, ...asked, "--base-url", server.url],
        env,
        () => true
      )
      assert.strictEqual(code, 1)
      assert.match(stderr, /^toolformer: [^\n]+\n$/)
      assert.notInclude(stdout + stderr, "canary")
    })
  })

  describe("Ctrl-C", () => {
    it("stops the running calls, prints their answers and ends with exit code 130", async () => {
      using folder = temporary()
      const log = join(folder.path, "log")
      const args = [main, ...sites("https://a.example", "https://slow-1.example", "https://slow-2.example"), "--json"]
      const { code, signal, stderr, stdout } = await interactive(
        process.execPath,
        args,
        { SITE_LOG: log },
        (stdout, child) => {
          if (stdout.split("\"tool-started\"").length <= 3) return false
          // Calls that hold no event loop open must not let the process end before the signal comes.
          setTimeout(() => child.kill("SIGINT"), 300)
          return true
        }
      )
      assert.strictEqual(code, 130, `${signal} ${stderr}`)
      const parts = lines(stdout)
      const results = parts.filter((part) => part.type === "tool-result").map((part) =>
        (part["result"] as { _tag?: string })._tag
      )
      assert.deepStrictEqual(results.filter((tag) => tag === "Cancelled").length, 2)
      assert.strictEqual(results.length, 3)
      assert.notInclude(parts.map((part) => part.type), "run-finish")
      assert.deepStrictEqual(readFileSync(log, "utf8").trim().split("\n").sort(), [
        "stopped https://slow-1.example",
        "stopped https://slow-2.example"
      ])
      assert.match(stderr, /^toolformer: The run was cancelled[^\n]*\n$/)
    })
  })

  const hasScript = spawnSync("script", ["--version"]).status === 0
  const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
  const onTerminal = (
    args: ReadonlyArray<string>,
    env: Record<string, string>,
    act: Parameters<typeof interactive>[3] = () => true
  ) =>
    // `exec`: else some shells stay between `script` and the command, and take the signal meant for it.
    interactive("script", ["-qec", `exec ${[process.execPath, main, ...args].map(quote).join(" ")}`, "/dev/null"], {
      TERM: "xterm",
      ...env
    }, act)

  describe.skipIf(!hasScript)("on a terminal (needs `script` of util-linux)", () => {
    it("redraws a waterfall in place, leaves the last picture and the cursor", async () => {
      const { code, stdout } = await onTerminal(sites("https://a.example", "https://bad.example"), {})
      assert.strictEqual(code, 0)
      assert.isAbove(stdout.split("\u001b[J").length, 2, "draws more than once")
      assert.isBelow(stdout.indexOf("\u001b[?25l"), stdout.indexOf("\u001b[?25h"))
      const final = stdout.slice(stdout.lastIndexOf("\u001b[J"))
      assert.match(final, /2 calls: 1 done, 1 failed/)
      assert.match(final, /✓ check_site https:\/\/a\.example.*█/)
      assert.match(final, /✗ check_site https:\/\/bad\.example/)
      assert.include(final, "https://a.example answers")
    })

    it("prints plain lines when NO_COLOR is set or the terminal is dumb", async () => {
      for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
        const { stdout } = await onTerminal(sites("https://a.example"), env)
        assert.notInclude(stdout, "\u001b")
        assert.match(stdout, /^done +.* check_site https:\/\/a\.example/m)
      }
    })

    it("says on SIGTERM that it drains, keeps drawing below, and gives the cursor back", async () => {
      const args = [...sites("https://slow.example"), "--grace", "300 millis"]
      const { code, stdout } = await onTerminal(args, {}, (stdout, child) => {
        if (!stdout.includes("1 running")) return false
        // `script` hands no SIGTERM on; its one child is ours.
        spawnSync("pkill", ["-TERM", "-P", String(child.pid)])
        return true
      })
      assert.strictEqual(code, 1, stdout)
      const [before, after] = stdout.split("toolformer: no new calls start")
      assert.isTrue(before!.endsWith("\u001b[J"))
      assert.include(after, "running ones have 300ms")
      assert.match(after!.slice(after!.lastIndexOf("\u001b[J")), /1 cancelled/)
      assert.isAbove(stdout.lastIndexOf("\u001b[?25h"), stdout.lastIndexOf("\u001b[?25l"))
    })

    it("gives the cursor back after Ctrl-C, with exit code 130", async () => {
      const { code, stdout } = await onTerminal(sites("https://slow.example"), {}, (stdout, child) => {
        if (!stdout.includes("1 running")) return false
        child.stdin!.write("\u0003")
        return true
      })
      assert.strictEqual(code, 130)
      assert.isAbove(stdout.lastIndexOf("\u001b[?25h"), stdout.lastIndexOf("\u001b[?25l"))
      assert.match(stdout.slice(stdout.lastIndexOf("\u001b[J")), /1 cancelled/)
    })
  })

  it("demo makes at least 50 real calls on this package's own sources and measures the sequential cost", () => {
    using folder = temporary()
    const { code, stderr, stdout } = toolformer(["demo"], { cwd: folder.path })
    assert.strictEqual(stderr, "")
    assert.strictEqual(code, 0)
    const calls = Number(/^(\d+) tool calls/m.exec(stdout)?.[1])
    const analysed = [...stdout.matchAll(/^done +[\d.]+ m?s {2}analyse_file src\/(\S+)$/gm)].map((match) => match[1]!)
    assert.isAtLeast(analysed.length, 50)
    assert.isAtLeast(calls, analysed.length)
    assert.include(analysed, "cli/demo.ts")
    assert.match(stdout, /one after the other +[\d.]+ m?s/)
  }, 60_000)
})
