/**
 * `docs/benchmarks.md`: the bounds with what was measured, then every figure. Pure: text from data.
 */
import type { Verdict } from "./figures.ts"
import type { Figure, Scenario } from "./scenario.ts"

/** What ran the bench. */
export interface Setting {
  readonly machine: string
  readonly versions: Readonly<Record<string, string>>
  readonly date: string
}

const number = (value: number): string =>
  Number.isInteger(value)
    ? String(value)
    : Math.abs(value) >= 100
    ? value.toFixed(0)
    : Math.abs(value) >= 10
    ? value.toFixed(1)
    : value.toFixed(2)

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const size = (n: number): string => n.toLocaleString("en-US")

const verdictRow = ({ scenario, bound, measured, met }: Verdict): ReadonlyArray<string> => [
  scenario,
  bound.what,
  `${bound.compare} ${bound.limit} ${bound.unit}`,
  measured === undefined ? "not measured" : `${number(measured)} ${bound.unit}`,
  met ? "met" : "**not met**"
]

const figureRow = (all: ReadonlyArray<Figure>) => (figure: Figure): ReadonlyArray<string> => {
  const ours = all.find(({ peer, n, unit }) => peer === "ours" && n === figure.n && unit === figure.unit)
  return [
    figure.peer,
    size(figure.n),
    `${number(figure.value)} ${figure.unit}`,
    figure.ideal === null ? "" : `${number(figure.ideal)} ${figure.unit}`,
    ours === undefined || ours.value === 0 ? "" : `${number(figure.value / ours.value)} x`
  ]
}

const section = (scenario: Scenario, all: ReadonlyArray<Figure>): string => {
  const own = all.filter((figure) => figure.scenario === scenario.name)
  return `### ${scenario.name}\n\n${scenario.about}\n\n`
    + table(["peer", "N", "value", "ideal", "against ours"], own.map(figureRow(own)))
}

/** The bounds as a table. */
export const boundsTable = (verdicts: ReadonlyArray<Verdict>): string =>
  table(["scenario", "bound", "limit", "measured", ""], verdicts.map(verdictRow))

/** The figures of some scenarios, a table each. */
export const figureTables = (scenarios: ReadonlyArray<Scenario>, figures: ReadonlyArray<Figure>): string =>
  scenarios.map((scenario) => section(scenario, figures)).join("\n\n")

/** The whole page. */
export const page = (
  setting: Setting,
  scenarios: ReadonlyArray<Scenario>,
  figures: ReadonlyArray<Figure>,
  verdicts: ReadonlyArray<Verdict>
): string =>
  `# Benchmarks

Written by \`npm run bench\`; do not edit. Each value is the median of several repetitions, each in a fresh process,
the peers taking turns; counts of calls are the worst repetition. Compare values of
one run only: another machine, another number.

- Machine: ${setting.machine}
- Versions: ${Object.entries(setting.versions).map(([name, version]) => `${name} ${version}`).join(", ")}
- Date: ${setting.date}
- Command: \`npm run bench\` (one scenario: \`npm run bench -- --only SCENARIO\`)

Peers: *ours* is \`Orchestrator.run\`, *effect-ai* stock \`LanguageModel.streamText\` resolving the calls itself, *ai*
\`streamText\` of \`ai\`; in the scenarios of \`limits\` *ours* is \`withAdmission\` of the limiter, *effect* the
\`RateLimiter\` of \`effect/persistence\`; the rest are plain code without a model, as a floor.

## Bounds

${boundsTable(verdicts)}

## Figures

${figureTables(scenarios, figures)}
`
