/**
 * The planner's word lists: small, English, closed. What is not in a list is judged by its shape (`localToken`) or by
 * similarity (`localPlan`), never guessed.
 */

const set = (words: string): ReadonlySet<string> => new Set(words.split(/\s+/))

/** Words that carry no meaning of their own in a request. */
export const stopWords = set(
  `a an the this that these those of in on at to for from by with without into as is are was were be been do does
  did has have had will would can could should may might must shall i me my we us our you your it its they them
  their he she his her what which who whom whose when where why how please just also and or but if not no so
  than then there here about some any all each every both more most other such only own same too very over under
  between within across near per via up out off again let's let`
)

/**
 * Verbs and question words with which an instruction begins; never a name, even when a capital letter opens the
 * sentence.
 */
export const openers = set(
  `add analyse analyze answer ask book buy calculate call check commit compare compute convert count create define
  delete describe detect display do draft email evaluate examine explain extract fetch figure find get give go
  grep inspect list load look lookup make mail measure message multiply notify open order parse plan please post
  print pull query quote read recommend remind remove report reserve review run say scan schedule search send
  set show sort square suggest sum summarise summarize take tell text track translate use verify what what's
  whats when where where's which who who's why how how's is are can could do does did will would should i we the
  a an any also and then after finally next first now could've any write ping solve shorten resolve today
  tomorrow`
)

/** A clause with one of these speaks of things that another tool has to find first. */
export const pronouns = set(`it its them their they these those each every all`)

/** Words after which the next instruction waits for the one before it. */
export const sequenceWords = set(`then afterwards afterward finally next subsequently`)

const languages: Readonly<Record<string, string>> = {
  typescript: "ts",
  javascript: "js",
  python: "py",
  rust: "rs",
  golang: "go",
  java: "java",
  kotlin: "kt",
  ruby: "rb",
  markdown: "md",
  json: "json",
  yaml: "yaml",
  css: "css",
  html: "html",
  tsx: "tsx",
  sql: "sql"
}

/** The file extension a language's name stands for: `typescript` is `ts`. */
export const extensionOf = (word: string): string | undefined =>
  Object.hasOwn(languages, word.toLowerCase()) ? languages[word.toLowerCase()] : undefined

/** ISO 4217 codes by code, name and sign; a name in the plural loses its s first. */
const currencyNames: Readonly<Record<string, string>> = {
  dollar: "USD",
  euro: "EUR",
  pound: "GBP",
  yen: "JPY",
  franc: "CHF",
  rupee: "INR",
  yuan: "CNY",
  krone: "NOK",
  krona: "SEK",
  zloty: "PLN",
  peso: "MXN",
  $: "USD",
  "€": "EUR",
  "£": "GBP",
  "¥": "JPY"
}
const currencyCodes = set(
  `USD EUR GBP JPY CHF INR CNY NOK SEK DKK PLN MXN CAD AUD NZD BRL ZAR TRY KRW SGD HKD CZK HUF THB ILS AED`
)

/** The currency code a word stands for. */
export const currencyOf = (word: string): string | undefined => {
  const upper = word.toUpperCase()
  if (currencyCodes.has(upper)) return upper
  const name = word.toLowerCase().replace(/s$/, "")
  return Object.hasOwn(currencyNames, name) ? currencyNames[name] : undefined
}

const numberWords: ReadonlyArray<string> =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
    .split(" ")

/** A number written as a word, up to twenty. `one` is left out: it is a pronoun more often than a number. */
export const numberOf = (word: string): number | undefined => {
  const lower = word.toLowerCase()
  if (lower === "dozen") return 12
  if (lower === "hundred") return 100
  const index = numberWords.indexOf(lower)
  return index < 0 || index === 1 ? undefined : index
}

export const months: ReadonlyArray<string> =
  "january february march april may june july august september october november december".split(" ")
export const weekdays: ReadonlyArray<string> = "sunday monday tuesday wednesday thursday friday saturday".split(" ")

/** The names of people's languages, lower case, for parameters that ask for one. */
export const spokenLanguages = set(
  `english french german spanish italian portuguese dutch swedish norwegian danish finnish polish czech hungarian
  romanian bulgarian greek turkish russian ukrainian arabic hebrew hindi bengali chinese mandarin japanese
  korean vietnamese thai latin`
)

/** Folder names that are recognised without a slash. */
export const folders = set(
  `src test tests lib docs doc examples packages app apps dist scripts bin config public assets source sources
  server client core api`
)

/**
 * A word's stem, crude and symmetric: enough to see that `files` is `file` and `analysing` is `analyse`.
 */
export const stem = (word: string): string => {
  const lower = word.toLowerCase().replace(/['’]s$/, "")
  if (lower.length <= 3) return lower
  return lower
    .replace(/(?:ies)$/, "y")
    .replace(/(?:sses)$/, "ss")
    .replace(/(?:ches|shes|xes)$/, (end) => end.slice(0, -2))
    .replace(/(?<![su])s$/, "")
    .replace(/(?:ing|ed)$/, (end, at: number) => at >= 3 ? "" : end)
    .replace(/yz(?=e|$)/, "ys")
    .replace(/e$/, "")
}

/** The words of a name: `getUserIds` and `get_user-ids` are `get user ids`. */
export const wordsOf = (name: string): ReadonlyArray<string> =>
  name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase().split(/[^\p{L}\p{N}]+/u).filter((word) => word !== "")
