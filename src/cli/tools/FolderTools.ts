/**
 * The built-in toolkit: six read-only tools over one folder. Each is typed, bounded in time and size, and fails with a
 * `FolderFailure` that tells the model what to try.
 */
import * as Effect from "effect/Effect"
import * as Glob from "effect/Glob"
import * as Schema from "effect/Schema"
import * as ToolPolicy from "../../domain/ToolPolicy.ts"
import { failure, Folder, FolderFailure } from "./Folder.ts"
import { gitLog } from "./gitLog.ts"
import { searchLines } from "./searchLines.ts"
import { sourceFacts } from "./sourceFacts.ts"

const text = (description: string) => Schema.String.annotate({ description })
const integer = (description: string, minimum: number, maximum: number) =>
  Schema.Int.check(Schema.isBetween({ minimum, maximum })).annotate({ description })

const readonly = { readonly: true, destructive: false, idempotent: true, openWorld: false } as const

/** Most files one `find_files` names. @category limits @since 0.1.0 */
export const maxFound = 2_000

/** Most lines one `search_text` quotes. @category limits @since 0.1.0 */
export const maxMatches = 200

/** Most characters one `read_file` returns. @category limits @since 0.1.0 */
export const maxReadLength = 65_536

// --- find_files

const isWanted = (glob: string | undefined, extension: string | undefined): (path: string) => boolean => {
  // A pattern without a slash means the name, wherever the file lies; that is how people write "*.ts".
  const pattern = glob === undefined
    ? undefined
    : Glob.make(glob.includes("/") ? glob.replace(/^\.\//, "") : `**/${glob}`, { dot: true })
  const suffix = extension === undefined ? undefined : `.${extension.replace(/^\*?\./, "")}`
  return (path) =>
    (pattern === undefined || Glob.match(pattern, path)) && (suffix === undefined || path.endsWith(suffix))
}

const findFiles = ToolPolicy.tool({
  description: "Find and list files in the current folder, by glob pattern, extension or subfolder.",
  parameters: Schema.Struct({
    glob: Schema.optionalKey(text("Glob pattern such as **/*.ts")),
    extension: Schema.optionalKey(text("File extension such as ts")),
    directory: Schema.optionalKey(text("Subfolder to look in; default the whole folder"))
  }),
  success: Schema.Struct({ files: Schema.Array(Schema.String), count: Schema.Int, truncated: Schema.Boolean }),
  failure: FolderFailure,
  annotations: { title: "Find files", ...readonly, timeout: "20 seconds" },
  handler: Effect.fnUntraced(function*({ directory, extension, glob }) {
    const folder = yield* Folder
    const { files, truncated } = yield* folder.walk(directory ?? ".")
    const found = files.filter(isWanted(glob, extension))
    return { files: found.slice(0, maxFound), count: found.length, truncated: truncated || found.length > maxFound }
  })
})

// --- analyse_file

const analyseFile = ToolPolicy.tool({
  description:
    "Analyse a source file: count its lines, imports, exports, functions and TODO comments, and find its longest function.",
  parameters: Schema.Struct({ path: text("Path of the file") }),
  success: Schema.Struct({
    path: Schema.String,
    language: Schema.String,
    lines: Schema.Int,
    codeLines: Schema.Int,
    commentLines: Schema.Int,
    imports: Schema.Array(Schema.String),
    exports: Schema.Array(Schema.String),
    functions: Schema.Int,
    longestFunction: Schema.NullOr(Schema.Struct({ name: Schema.String, line: Schema.Int, lines: Schema.Int })),
    todos: Schema.Array(Schema.Struct({ line: Schema.Int, text: Schema.String }))
  }),
  failure: FolderFailure,
  annotations: { title: "Analyse a source file", ...readonly, timeout: "10 seconds" },
  handler: Effect.fnUntraced(function*({ path }) {
    const folder = yield* Folder
    const facts = sourceFacts(path, yield* folder.readText(path))
    const longest = facts.functions.reduce<(typeof facts.functions)[number] | null>(
      (most, each) => most === null || each.lines > most.lines ? each : most,
      null
    )
    const { codeLines, commentLines, exports, imports, language, lines, todos } = facts
    return {
      path,
      language,
      lines,
      codeLines,
      commentLines,
      imports: imports.slice(0, 200),
      exports: exports.slice(0, 200),
      functions: facts.functions.length,
      longestFunction: longest,
      todos: todos.slice(0, 100)
    }
  })
})

// --- search_text

const searchText = ToolPolicy.tool({
  description: "Search the text of all files in the current folder for a phrase or a regular expression.",
  parameters: Schema.Struct({
    query: text("What to search for").check(Schema.isMinLength(1), Schema.isMaxLength(1000)),
    regex: Schema.optionalKey(Schema.Boolean.annotate({ description: "Read the query as a regular expression" })),
    glob: Schema.optionalKey(text("Only files that match, such as **/*.ts")),
    directory: Schema.optionalKey(text("Subfolder to look in; default the whole folder"))
  }),
  success: Schema.Struct({
    matches: Schema.Array(Schema.Struct({ path: Schema.String, line: Schema.Int, text: Schema.String })),
    filesSearched: Schema.Int,
    filesMatched: Schema.Int,
    truncated: Schema.Boolean
  }),
  failure: FolderFailure,
  annotations: { title: "Search text", ...readonly, timeout: "30 seconds" },
  handler: Effect.fnUntraced(function*({ directory, glob, query, regex }) {
    const folder = yield* Folder
    const search = yield* searchLines(query, regex ?? false)
    const walk = yield* folder.walk(directory ?? ".")
    const files = walk.files.filter(isWanted(glob, undefined))
    const matches: Array<{ path: string; line: number; text: string }> = []
    let filesSearched = 0
    const batches = Effect.forEach(
      files,
      (path) =>
        matches.length >= maxMatches ? Effect.void : folder.readText(path).pipe(
          Effect.flatMap((content) => {
            filesSearched++
            return search(content)
          }),
          Effect.map((lines) => lines.forEach((each) => matches.push({ path, ...each }))),
          // A file that is binary, too large or gone is not part of the search; a bad pattern ends it.
          Effect.catchIf((error) => error._tag !== "BadPattern", () => Effect.void)
        ),
      { concurrency: 8, discard: true }
    )
    yield* batches
    const sorted = matches.sort((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line)
    return {
      matches: sorted.slice(0, maxMatches),
      filesSearched,
      filesMatched: new Set(sorted.map(({ path }) => path)).size,
      truncated: walk.truncated || sorted.length > maxMatches ||
        filesSearched < files.length && matches.length >= maxMatches
    }
  })
})

// --- read_file

const readFile = ToolPolicy.tool({
  description: "Read and show the text of a file in the current folder.",
  parameters: Schema.Struct({
    path: text("Path of the file"),
    firstLine: Schema.optionalKey(integer("First line to return, from 1", 1, 1_000_000)),
    lastLine: Schema.optionalKey(integer("Last line to return", 1, 1_000_000))
  }),
  success: Schema.Struct({ path: Schema.String, lines: Schema.Int, text: Schema.String, truncated: Schema.Boolean }),
  failure: FolderFailure,
  annotations: { title: "Read a file", ...readonly, timeout: "10 seconds" },
  handler: Effect.fnUntraced(function*({ firstLine, lastLine, path }) {
    const folder = yield* Folder
    const content = yield* folder.readText(path)
    const lines = content.split("\n")
    const wanted = lines.slice((firstLine ?? 1) - 1, lastLine ?? lines.length).join("\n")
    return {
      path,
      lines: content.endsWith("\n") ? lines.length - 1 : lines.length,
      text: wanted.slice(0, maxReadLength),
      truncated: wanted.length > maxReadLength
    }
  })
})

// --- git_log

const gitLogTool = ToolPolicy.tool({
  description: "Show the git log: the latest commits of the repository.",
  parameters: Schema.Struct({
    limit: Schema.optionalKey(integer("How many commits; default 10", 1, 200)),
    path: Schema.optionalKey(text("Only commits that touch this file or folder"))
  }),
  success: Schema.Struct({
    commits: Schema.Array(
      Schema.Struct({ hash: Schema.String, author: Schema.String, date: Schema.String, subject: Schema.String })
    )
  }),
  failure: FolderFailure,
  annotations: { title: "Git log", ...readonly, timeout: "10 seconds" },
  handler: Effect.fnUntraced(function*({ limit, path }) {
    const folder = yield* Folder
    const inside = path === undefined ? undefined : yield* folder.resolve(path)
    return { commits: yield* gitLog(folder.root, limit ?? 10, inside) }
  })
})

// --- package_facts

const names = (value: unknown): ReadonlyArray<string> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? Object.keys(value) : []
const string = (value: unknown): string | null => typeof value === "string" ? value : null

const packageFacts = ToolPolicy.tool({
  description: "Package facts: name, version, license, scripts and number of dependencies from package.json.",
  parameters: Schema.Struct({
    directory: Schema.optionalKey(text("Subfolder with the package.json; default the folder itself"))
  }),
  success: Schema.Struct({
    name: Schema.NullOr(Schema.String),
    version: Schema.NullOr(Schema.String),
    license: Schema.NullOr(Schema.String),
    dependencies: Schema.Int,
    devDependencies: Schema.Int,
    peerDependencies: Schema.Int,
    scripts: Schema.Array(Schema.String)
  }),
  failure: FolderFailure,
  annotations: { title: "Package facts", ...readonly, timeout: "10 seconds" },
  handler: Effect.fnUntraced(function*({ directory }) {
    const folder = yield* Folder
    const path = directory === undefined ? "package.json" : `${directory.replace(/\/$/, "")}/package.json`
    const content = yield* folder.readText(path)
    const json = yield* Effect.mapError(
      parseObject(content),
      () => failure("NotJson", path, `${path} is not one JSON object.`)
    )
    return {
      name: string(json["name"]),
      version: string(json["version"]),
      license: string(json["license"]),
      dependencies: names(json["dependencies"]).length,
      devDependencies: names(json["devDependencies"]).length,
      peerDependencies: names(json["peerDependencies"]).length,
      scripts: names(json["scripts"]).slice(0, 100)
    }
  })
})

const parseObject = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

/**
 * The toolkit and the Layer of its handlers; the Layer needs the `Folder`, the file system and a process spawner.
 *
 * @category constructors
 * @since 0.1.0
 */
export const { layer, toolkit } = ToolPolicy.define({
  find_files: findFiles,
  analyse_file: analyseFile,
  search_text: searchText,
  read_file: readFile,
  git_log: gitLogTool,
  package_facts: packageFacts
})
