import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import type * as Tool from "effect/ai/Tool"
import * as ToolClass from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Folder from "../../src/cli/tools/Folder.ts"
import * as FolderTools from "../../src/cli/tools/FolderTools.ts"
import * as ToolPolicy from "../../src/domain/ToolPolicy.ts"
import * as Executor from "../../src/engine/Executor.ts"

const tools = FolderTools.toolkit.tools

// A real folder beside a secret that lies outside it.
const withFolder = <A, E>(
  test: (folder: string, root: string) => Effect.Effect<A, E, Tool.HandlersFor<typeof tools>>
) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const root = realpathSync(mkdtempSync(join(tmpdir(), "toolformer-folder-")))
      const folder = join(root, "project")
      for (const path of ["src/deep", "node_modules/x", ".git", "dist"]) {
        mkdirSync(join(folder, path), { recursive: true })
      }
      const files = {
        "../secret.txt": "outside",
        "../project-other/near.txt": "a neighbour with the same beginning",
        "a.ts": "import { b } from \"./b.ts\"\n// TODO one\nexport const f = () => {\n  return b\n}\n",
        "src/b.ts": "export const b = 1\n",
        "src/deep/c.md": "# hello\nneedle (a) here\n",
        "src/deep/.hidden.ts": "needle\n",
        "node_modules/x/d.ts": "needle",
        "dist/e.ts": "needle",
        "binary.bin": "needle\0",
        "big.txt": "needle".padEnd(Folder.maxFileBytes + 1, "."),
        "package.json": JSON.stringify({
          name: "p",
          version: "1.2.3",
          dependencies: { a: "1", b: "1" },
          scripts: { test: "t" }
        })
      }
      mkdirSync(join(root, "project-other"))
      for (const [path, text] of Object.entries(files)) writeFileSync(join(folder, path), text)
      symlinkSync(join(root, "secret.txt"), join(folder, "link.txt"))
      symlinkSync(root, join(folder, "up"))
      symlinkSync(join(folder, "a.ts"), join(folder, "inner.ts"))
      return { root, folder }
    }),
    ({ folder, root }) =>
      test(folder, root).pipe(
        Effect.provide(FolderTools.layer.pipe(Layer.provide(Folder.layer(folder)), Layer.provide(NodeServices.layer)))
      ),
    ({ root }) => Effect.sync(() => rmSync(root, { recursive: true, force: true }))
  )

const tagOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => error._tag)

describe("FolderTools", () => {
  it("are all annotated read-only and bounded in time", () => {
    for (const tool of Object.values(tools) as ReadonlyArray<Tool.Any>) {
      assert.isTrue(Context.get(tool.annotations, ToolClass.Readonly))
      assert.isAtMost(ToolPolicy.read(tool).timeoutMillis ?? Number.POSITIVE_INFINITY, 30_000)
    }
  })

  describe("find_files", () => {
    it.effect("finds by glob, extension and subfolder, and leaves generated folders and links alone", () =>
      withFolder(() =>
        Effect.gen(function*() {
          const find = (params: typeof tools.find_files.parametersSchema.Type) =>
            Effect.map(Executor.call(tools.find_files, params), ({ files }) => files)
          const all = [
            "a.ts",
            "big.txt",
            "binary.bin",
            "package.json",
            "src/b.ts",
            "src/deep/.hidden.ts",
            "src/deep/c.md"
          ]
          assert.deepStrictEqual(yield* find({}), all)
          assert.deepStrictEqual(yield* find({ glob: "**/*.ts" }), ["a.ts", "src/b.ts", "src/deep/.hidden.ts"])
          assert.deepStrictEqual(yield* find({ glob: "*.md" }), ["src/deep/c.md"])
          assert.deepStrictEqual(yield* find({ glob: "src/*.ts" }), ["src/b.ts"])
          assert.deepStrictEqual(yield* find({ extension: ".md", directory: "src" }), ["src/deep/c.md"])
          assert.deepStrictEqual(yield* find({ extension: "nope" }), [])
        })
      ))

    it.effect("refuses a folder that is outside, missing or a file", () =>
      withFolder(() =>
        Effect.gen(function*() {
          const find = (directory: string) => tagOf(Executor.call(tools.find_files, { directory }))
          assert.strictEqual(yield* find(".."), "OutsideFolder")
          assert.strictEqual(yield* find("up"), "OutsideFolder")
          assert.strictEqual(yield* find("nope"), "NotFound")
          assert.strictEqual(yield* find("a.ts"), "NotAFolder")
        })
      ))
  })

  describe("read_file", () => {
    it.effect("reads a file, a part of it, and a link that stays inside", () =>
      withFolder((folder) =>
        Effect.gen(function*() {
          const read = (params: typeof tools.read_file.parametersSchema.Type) => Executor.call(tools.read_file, params)
          assert.deepStrictEqual(yield* read({ path: "src/b.ts" }), {
            path: "src/b.ts",
            lines: 1,
            text: "export const b = 1\n",
            truncated: false
          })
          assert.strictEqual((yield* read({ path: "a.ts", firstLine: 2, lastLine: 2 })).text, "// TODO one")
          assert.strictEqual((yield* read({ path: "inner.ts", lastLine: 1 })).text, "import { b } from \"./b.ts\"")
          assert.strictEqual((yield* read({ path: join(folder, "src/../src/b.ts") })).lines, 1)
        })
      ))

    it.effect("reads nothing outside the folder, by path or by link", () =>
      withFolder((_, root) =>
        Effect.gen(function*() {
          const outside = [
            "../secret.txt",
            "../../etc/passwd",
            "/etc/passwd",
            "link.txt",
            "up/secret.txt",
            "../project-other/near.txt",
            "a\0b",
            join(root, "secret.txt")
          ]
          for (const path of outside) {
            assert.strictEqual(yield* tagOf(Executor.call(tools.read_file, { path })), "OutsideFolder", path)
            assert.strictEqual(yield* tagOf(Executor.call(tools.analyse_file, { path })), "OutsideFolder", path)
          }
        })
      ))

    it.effect("refuses folders, missing, binary and big files with a failure each", () =>
      withFolder(() =>
        Effect.gen(function*() {
          const expected = { src: "NotAFile", nope: "NotFound", "binary.bin": "Binary", "big.txt": "TooLarge" }
          for (const [path, tag] of Object.entries(expected)) {
            assert.strictEqual(yield* tagOf(Executor.call(tools.read_file, { path })), tag)
          }
        })
      ))
  })

  it.effect("analyse_file gives the facts of a source file", () =>
    withFolder(() =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Executor.call(tools.analyse_file, { path: "a.ts" }), {
          path: "a.ts",
          language: "typescript",
          lines: 5,
          codeLines: 4,
          commentLines: 1,
          imports: ["./b.ts"],
          exports: ["f"],
          functions: 1,
          longestFunction: { name: "f", line: 3, lines: 3 },
          todos: [{ line: 2, text: "TODO one" }]
        })
      })
    ))

  describe("search_text", () => {
    it.effect("finds a phrase as it is written, and a regular expression when asked", () =>
      withFolder(() =>
        Effect.gen(function*() {
          const search = (params: typeof tools.search_text.parametersSchema.Type) =>
            Effect.map(Executor.call(tools.search_text, params), ({ matches }) =>
              matches.map(({ line, path }) => `${path}:${line}`))
          assert.deepStrictEqual(yield* search({ query: "needle" }), ["src/deep/.hidden.ts:1", "src/deep/c.md:2"])
          assert.deepStrictEqual(yield* search({ query: "(a)" }), ["src/deep/c.md:2"])
          assert.deepStrictEqual(yield* search({ query: "^(export|import)", regex: true, glob: "*.ts" }), [
            "a.ts:1",
            "a.ts:3",
            "src/b.ts:1"
          ])
        })
      ))

    it.effect("refuses a broken expression, and one that would run for ever", () =>
      withFolder((folder) =>
        Effect.gen(function*() {
          writeFileSync(join(folder, "evil.txt"), `${"a".repeat(60)}!`)
          for (const query of ["(", "^(a+)+$"]) {
            assert.strictEqual(
              yield* tagOf(Executor.call(tools.search_text, { query, regex: true })),
              "BadPattern",
              query
            )
          }
        })
      ))
  })

  describe("git_log", () => {
    it.effect("reads the latest commits, also those of one file", () =>
      withFolder((folder) =>
        Effect.gen(function*() {
          rmSync(join(folder, ".git"), { recursive: true })
          const git = (...args: ReadonlyArray<string>) =>
            execFileSync("git", [
              "-c",
              "user.name=Ann",
              "-c",
              "user.email=a@b.c",
              "-c",
              "commit.gpgsign=false",
              ...args
            ], { cwd: folder, stdio: "ignore" })
          git("init")
          git("add", "a.ts")
          git("commit", "-m", "first: a")
          git("add", "src/b.ts")
          git("commit", "-m", "second: b")
          const { commits } = yield* Executor.call(tools.git_log, {})
          assert.deepStrictEqual(commits.map(({ author, subject }) => ({ author, subject })), [
            { author: "Ann", subject: "second: b" },
            { author: "Ann", subject: "first: a" }
          ])
          assert.match(commits[0]!.hash, /^[0-9a-f]{40}$/)
          assert.strictEqual((yield* Executor.call(tools.git_log, { limit: 1 })).commits.length, 1)
          const ofFile = yield* Executor.call(tools.git_log, { path: "a.ts" })
          assert.deepStrictEqual(ofFile.commits.map(({ subject }) => subject), ["first: a"])
          assert.strictEqual(yield* tagOf(Executor.call(tools.git_log, { path: "../secret.txt" })), "OutsideFolder")
        })
      ))

    it.effect("says so where there is no repository", () =>
      withFolder(() =>
        Effect.gen(function*() {
          assert.strictEqual(yield* tagOf(Executor.call(tools.git_log, {})), "NotARepository")
        })
      ))
  })

  it.effect("package_facts reads package.json and refuses what is none", () =>
    withFolder((folder) =>
      Effect.gen(function*() {
        const facts = yield* Executor.call(tools.package_facts, {})
        assert.deepInclude(facts, { name: "p", version: "1.2.3", license: null, dependencies: 2, devDependencies: 0 })
        assert.deepStrictEqual(facts.scripts, ["test"])
        writeFileSync(join(folder, "src/package.json"), "[1]")
        assert.strictEqual(yield* tagOf(Executor.call(tools.package_facts, { directory: "src" })), "NotJson")
        assert.strictEqual(yield* tagOf(Executor.call(tools.package_facts, { directory: "src/deep" })), "NotFound")
      })
    ))
})
