/**
 * What the traces themselves do not say, by set: which tools only read, and which runs are trials of one task. Nothing here knows
 * what a tool means beyond that.
 */

interface Rule {
  /** In words, for the table. */
  readonly reads: string
  readonly isRead: (tool: string) => boolean
}

// As issue 6 says it; `transfer_to_human_agents` is a write by not being named.
const tauBench: Rule = {
  reads: "get_*, search_*, list_*, calculate, think",
  isRead: (tool) => /^(get_|search_|list_)/.test(tool) || tool === "calculate" || tool === "think"
}

// API-Bank names its tools verb first; what adds, books, cancels, deletes, modifies, opens, plays, records, sends or sets is a write.
const apiBank: Rule = {
  reads:
    "Get*, Query*, Search*, Check*, *Search, *Searcher, Calculator, Dictionary, DocumentQA, EmergencyKnowledge, Translate, Wiki",
  isRead: (tool) =>
    /^(Get|Query|Search|Check|Recall)/.test(tool) || /(Search|Searcher)$/.test(tool)
    || /^(Calculator|Dictionary|DocumentQA|EmergencyKnowledge|Translate|Wiki|ImageCaption|SpeechRecognition)$/.test(
      tool
    )
}

// ToolBench's are look-ups of public services, named by their path; a few say that they write.
const toolBench: Rule = {
  reads: "all but Finish and names with a word of writing (add, create, delete, post, send, update ...)",
  isRead: (tool) =>
    tool !== "Finish"
    && !/(^|_)(add|book|buy|cancel|create|delete|edit|insert|order|post|put|register|remove|send|set|submit|update|upload|write)_/
      .test(tool)
}

const sweAgent: Rule = {
  reads: "find_*, search_*, open, goto, scroll_*, ls, cat, head, tail, grep",
  isRead: (tool) => /^(find_|search_|scroll_)/.test(tool) || /^(open|goto|ls|cat|head|tail|grep|find)$/.test(tool)
}

// For sets that nobody has described: what says that it reads.
const unknown: Rule = {
  reads: "names that begin with get, search, list, find, query, read, lookup, check, fetch or show",
  isRead: (tool) => /^(get|search|list|find|query|read|lookup|check|fetch|show)(?![a-z])/.test(tool)
}

/** The rule of a set by its file's name. */
export const ruleOf = (set: string): Rule =>
  set.startsWith("tau-")
    ? tauBench
    : set.startsWith("api-bank")
    ? apiBank
    : set.startsWith("toolbench")
    ? toolBench
    : set.startsWith("swe-agent")
    ? sweAgent
    : unknown

/** The task a trace is a trial of: the last part of its id that is no trial's number. */
export const taskOf = (id: string): string => id.split("/").findLast((part) => !/^trial-\d+$/.test(part)) ?? id

const byNumbers = new Intl.Collator("en", { numeric: true }).compare

/** The tasks of traces in the order of their ids, numbers as numbers. */
export const tasksOf = (traces: ReadonlyArray<{ readonly task: string }>): ReadonlyArray<string> =>
  [...new Set(traces.map(({ task }) => task))].sort(byNumbers)

/** One way to learn and to test. No task is on both sides. */
export interface Fold<A> {
  readonly name: string
  readonly learn: ReadonlyArray<A>
  readonly test: ReadonlyArray<A>
}

/** The first half of the tasks against the second, and the other way round. */
export const halves = <A extends { readonly task: string }>(traces: ReadonlyArray<A>): ReadonlyArray<Fold<A>> => {
  const tasks = tasksOf(traces)
  const early = new Set(tasks.slice(0, Math.ceil(tasks.length / 2)))
  const [first, second] = [traces.filter(({ task }) => early.has(task)), traces.filter(({ task }) => !early.has(task))]
  return [
    { name: "first half learned, second tested", learn: first, test: second },
    { name: "second half learned, first tested", learn: second, test: first }
  ]
}
