/**
 * Facts of a source file, read from its text: lines by kind, imports, exports, functions and their lengths, open TODOs.
 * Knows JavaScript, TypeScript and Python; counts lines and TODOs in everything else. A scanner, not a compiler:
 * comments, strings and template literals are told apart exactly, functions by how they are usually written.
 */

export interface FunctionFact {
  readonly name: string
  readonly line: number
  readonly lines: number
}

export interface SourceFacts {
  readonly language: "typescript" | "javascript" | "python" | "other"
  readonly lines: number
  readonly codeLines: number
  readonly commentLines: number
  readonly blankLines: number
  readonly imports: ReadonlyArray<string>
  readonly exports: ReadonlyArray<string>
  readonly functions: ReadonlyArray<FunctionFact>
  readonly todos: ReadonlyArray<{ readonly line: number; readonly text: string }>
}

export const sourceFacts = (path: string, source: string): SourceFacts => {
  const language = languageOf(path)
  const scanned = language === "python"
    ? scanPython(source)
    : language === "other"
    ? scanOther(source)
    : scanScript(source)
  const original = linesOf(source)
  const code = linesOf(scanned.code)
  const kinds = original.map((line, i) =>
    line.trim() === "" ? "blank" : (code[i] ?? "").trim() === "" ? "comment" : "code"
  )
  const count = (kind: string) => kinds.filter((each) => each === kind).length
  return {
    language,
    lines: original.length,
    codeLines: count("code"),
    commentLines: count("comment"),
    blankLines: count("blank"),
    ...parts(language, scanned.code, source),
    todos: todosOf(linesOf(scanned.comments))
  }
}

const linesOf = (text: string): ReadonlyArray<string> => {
  const lines = text.split(/\r\n|\n|\r/)
  return lines.at(-1) === "" ? lines.slice(0, -1) : lines
}

const languageOf = (path: string): SourceFacts["language"] =>
  /\.[cm]?tsx?$/.test(path)
    ? "typescript"
    : /\.[cm]?jsx?$/.test(path)
    ? "javascript"
    : path.endsWith(".py")
    ? "python"
    : "other"

// --- scanning: two texts of the source's length. `code` keeps code and the quotes of strings; `comments` keeps
// comments.

interface Scanned {
  readonly code: string
  readonly comments: string
}

const blank = (text: string): string => text.replace(/[^\n\r]/g, " ")

// What stands inside a string is code to count and nothing to read: a mark that no pattern below looks for.
const hide = (text: string): string => text.replace(/[^\n\r]/g, "\u0001")

// Everything that hides code, longest first; a slash opens a regular expression where a value cannot end.
const scriptToken =
  /\/\/[^\n\r]*|\/\*[\s\S]*?(?:\*\/|$)|"(?:\\[\s\S]|[^"\\\n\r])*"?|'(?:\\[\s\S]|[^'\\\n\r])*'?|`|[{}]|(?<=(?:^|[=(,:;!&|?{}[\n+\-*~^<>]|return|typeof|case)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n\r])*\]|[^/\\\n\r[])+\/[a-z]*/g

const scanScript = (source: string): Scanned => {
  const code: Array<string> = []
  const comments: Array<string> = []
  const put = (text: string, kind: "code" | "comment" | "hidden", shown = text) => {
    code.push(kind === "code" ? text : kind === "hidden" ? shown : blank(text))
    comments.push(kind === "comment" ? text : blank(text))
  }
  // Open braces; a template's `${` is one that returns to its text when closed.
  const depth: Array<"brace" | "template"> = []
  const pattern = new RegExp(scriptToken.source, "g")
  let at = 0
  for (let match = pattern.exec(source); match !== null; match = pattern.exec(source)) {
    put(source.slice(at, match.index), "code")
    const text = match[0]
    at = match.index + text.length
    if (text.startsWith("//") || text.startsWith("/*")) put(text, "comment")
    else if (text === "{") {
      put(text, "code")
      depth.push("brace")
    } else if (text === "`" || (text === "}" && depth.pop() === "template")) {
      const end = templateEnd(source, at)
      put(source.slice(match.index, end), "hidden", `"${hide(source.slice(at, end)).slice(0, -1)}"`)
      if (source[end - 1] === "{") depth.push("template")
      at = end
      pattern.lastIndex = end
    } else if (text === "}") put(text, "code")
    else put(text, "hidden", text.length < 2 ? "\"" : `"${hide(text.slice(1, -1))}"`)
  }
  put(source.slice(at), "code")
  return { code: code.join(""), comments: comments.join("") }
}

// Behind the closing backtick, or behind the next `${`.
const templateEnd = (source: string, from: number): number => {
  for (let i = from; i < source.length; i++) {
    if (source[i] === "\\") i++
    else if (source[i] === "`") return i + 1
    else if (source[i] === "$" && source[i + 1] === "{") return i + 2
  }
  return source.length
}

const pythonToken = /#[^\n\r]*|("""|''')[\s\S]*?(?:\1|$)|"(?:\\[\s\S]|[^"\\\n\r])*"?|'(?:\\[\s\S]|[^'\\\n\r])*'?/g

const scanPython = (source: string): Scanned => ({
  code: source.replace(pythonToken, (text) => text.startsWith("#") ? blank(text) : `"${hide(text.slice(1))}`),
  comments: keepOnly(source, pythonToken, (text) => text.startsWith("#"))
})

const otherToken = /(?<=^|\s)(?:\/\/|#|--)[^\n\r]*|\/\*[\s\S]*?(?:\*\/|$)|<!--[\s\S]*?(?:-->|$)/gm

const scanOther = (source: string): Scanned => ({
  code: source.replace(/\/\*[\s\S]*?(?:\*\/|$)|<!--[\s\S]*?(?:-->|$)/g, blank),
  comments: keepOnly(source, otherToken, () => true)
})

const keepOnly = (source: string, token: RegExp, keep: (text: string) => boolean): string => {
  let at = 0
  const out: Array<string> = []
  for (const match of source.matchAll(token)) {
    out.push(blank(source.slice(at, match.index)), keep(match[0]) ? match[0] : blank(match[0]))
    at = match.index + match[0].length
  }
  return [...out, blank(source.slice(at))].join("")
}

const todosOf = (comments: ReadonlyArray<string>): SourceFacts["todos"] =>
  comments.flatMap((line, i) => {
    const match = /\b(?:TODO|FIXME|XXX|HACK)\b.*/.exec(line)
    return match === null ? [] : [{ line: i + 1, text: match[0].replace(/\s*\*\/\s*$/, "").trim().slice(0, 200) }]
  })

// --- imports, exports, functions

const parts = (
  language: SourceFacts["language"],
  code: string,
  source: string
): Pick<SourceFacts, "imports" | "exports" | "functions"> => {
  if (language === "other") return { imports: [], exports: [], functions: [] }
  return language === "python"
    ? { imports: pythonImports(code), exports: [], functions: pythonFunctions(code) }
    : { imports: scriptImports(code, source), exports: scriptExports(code), functions: scriptFunctions(code) }
}

const unique = (values: Iterable<string>): ReadonlyArray<string> => [...new Set(values)]

// The quotes stand in the scanned code, the specifier between them in the source at the same place.
const scriptImports = (code: string, source: string): ReadonlyArray<string> =>
  unique(
    [...code.matchAll(
      /(?:^|[;\s])(?:import|export)\s[^;"()]{0,2000}?from\s*"|(?:^|[;\s])import\s*"|\b(?:import|require)\s*\(\s*"/gm
    )]
      .map((match) => match.index + match[0].length)
      .map((start) => source.slice(start, code.indexOf("\"", start)))
  )

const scriptExports = (code: string): ReadonlyArray<string> => {
  const declared = code.matchAll(
    /^[ \t]*export\s+(?:declare\s+)?(?:default\s+)?(?:abstract\s+)?(?:async\s+)?(?:const|let|var|function\*?|class|interface|type|enum|namespace)\s+([\w$]+)/gm
  )
  const named = [...code.matchAll(/^[ \t]*export\s+(?:type\s+)?\{([^{}]{0,5000})\}/gm)].flatMap((match) =>
    match[1]!.split(",")
  )
    .map((item) => item.trim().split(/\s+as\s+/).at(-1)!.replace(/^type\s+/, "")).filter((name) =>
      /^[\w$]+$/.test(name)
    )
  const stars = [...code.matchAll(/^[ \t]*export\s+\*\s+as\s+([\w$]+)/gm)].map((match) => match[1]!)
  const all = /^[ \t]*export\s+default\b/m.test(code) ? ["default"] : []
  return unique([...[...declared].map((match) => match[1]!), ...named, ...stars, ...all])
}

const scriptFunction =
  /\bfunction(?:\s+|\s*\*\s*)([\w$]+)\s*(?:<[^({]{0,300}>)?\s*(?=\()|\b(?:const|let|var)\s+([\w$]+)\s*(?::[^=;]{0,500}?(?:=>[^=;]{0,500}?)?)?=\s*(?:async\s*)?(?:<[^(]{0,300}>\s*)?(?=\(|[\w$]+\s*=>|function\b)|^[ \t]+(?:(?:public|private|protected|static|override|async|get|set|readonly)\s+)*\*?([\w$]+)\s*(?:<[^(\n]{0,300}>)?(?=\()/gm

const notMethods: ReadonlySet<string> = new Set([
  "if",
  "for",
  "while",
  "switch",
  "catch",
  "with",
  "function",
  "return",
  "super",
  "await",
  "yield"
])

const scriptFunctions = (code: string): ReadonlyArray<FunctionFact> => {
  const starts = lineStarts(code)
  const closing = closingOf(code)
  const found: Array<FunctionFact> = []
  for (const match of code.matchAll(scriptFunction)) {
    const name = match[1] ?? match[2] ?? match[3]!
    if (
      match[3] !== undefined && (notMethods.has(name) || !isMethod(code, closing.get(match.index + match[0].length)))
    ) continue
    const begin = match.index + /^\s*/.exec(match[0])![0].length
    const end = functionEnd(code, closing, match.index + match[0].length, match[2] !== undefined)
    if (end === undefined) continue
    const line = lineAt(starts, begin)
    found.push({ name, line, lines: lineAt(starts, end) - line + 1 })
  }
  return found
}

// Where each bracket closes: one pass, so that no function is scanned once for every function around it.
const closingOf = (code: string): ReadonlyMap<number, number> => {
  const closing = new Map<number, number>()
  const open: Array<number> = []
  for (let i = 0; i < code.length; i++) {
    const c = code[i]!
    if (c === "(" || c === "[" || c === "{") open.push(i)
    else if ((c === ")" || c === "]" || c === "}") && open.length > 0) closing.set(open.pop()!, i)
  }
  return closing
}

// A method's parameters are followed by its body, a call's arguments are not.
const isMethod = (code: string, parametersEnd: number | undefined): boolean =>
  parametersEnd !== undefined && /^\s*(?::[^;{}=()]*)?\{/.test(code.slice(parametersEnd + 1, parametersEnd + 400))

/** An expression is followed for this many characters outside brackets. */
const maxExpression = 10_000

// Behind the parameters and the body. A bound function needs its arrow: `const a = (b)` is only a value.
const functionEnd = (
  code: string,
  closing: ReadonlyMap<number, number>,
  from: number,
  bound: boolean
): number | undefined => {
  let arrow = !bound || /^\s*(?:async\s+)?function\b/.test(code.slice(from, from + 40))
  for (let i = from, steps = 0; i < code.length && steps < maxExpression; i++, steps++) {
    const c = code[i]!
    if (c === "=" && code[i + 1] === ">") {
      arrow = true
      i++
    } else if (c === "(" || c === "[" || c === "{") {
      const end = closing.get(i)
      if (end === undefined || (c === "{" && arrow)) return end
      i = end
    } else if (c === ")" || c === "]" || c === "}") return arrow ? i - 1 : undefined
    else if (c === ";") return arrow ? i : undefined
    else if (c === "\n" && bound && endsStatement(code, from, i)) return arrow ? i - 1 : undefined
  }
  return arrow ? code.length - 1 : undefined
}

// A line break ends an expression when neither the text before it nor the text behind it goes on.
const endsStatement = (code: string, from: number, at: number): boolean =>
  !/(?:[=+\-*/%&|^?:,.<(]|=>)\s*$/.test(code.slice(Math.max(from - 2, at - 40), at)) &&
  !/^\s*(?:[?:.+*/%&|^,)\]}=]|=>|extends\b)/.test(code.slice(at, at + 400))

const lineStarts = (code: string): ReadonlyArray<number> => {
  const starts = [0]
  for (let i = 0; i < code.length; i++) if (code[i] === "\n") starts.push(i + 1)
  return starts
}

const lineAt = (starts: ReadonlyArray<number>, offset: number): number => {
  let low = 0
  let high = starts.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (starts[middle]! <= offset) low = middle
    else high = middle - 1
  }
  return low + 1
}

const pythonImports = (code: string): ReadonlyArray<string> =>
  unique(
    [...code.matchAll(/^[ \t]*(?:from\s+([\w.]+)\s+import|import\s+([\w., ]+))/gm)].flatMap((match) =>
      (match[1] ?? match[2]!).split(",").map((name) => name.trim().split(/\s+as\s+/)[0]!)
    )
  )

const pythonFunctions = (code: string): ReadonlyArray<FunctionFact> => {
  const lines = linesOf(code)
  return lines.flatMap((line, i) => {
    const match = /^(\s*)(?:async\s+)?def\s+(\w+)/.exec(line)
    if (match === null) return []
    const indent = match[1]!.length
    let last = i
    for (let k = i + 1; k < lines.length && !endsBlock(lines[k]!, indent); k++) if (lines[k]!.trim() !== "") last = k
    return [{ name: match[2]!, line: i + 1, lines: last - i + 1 }]
  })
}

const endsBlock = (line: string, indent: number): boolean =>
  line.trim() !== "" && !line.startsWith("\u0001") && /^\s*/.exec(line)![0].length <= indent && !/^\s*\)/.test(line)
