/** Fourteen tools and the requests on which the planner's choice of tools and values is measured. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Schema from "effect/Schema"

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

const tool = <Fields extends Schema.Struct.Fields>(name: string, description: string, fields: Fields) =>
  Tool.make(name, { description, parameters: Schema.Struct(fields), success: Schema.Unknown }).annotate(
    Tool.Readonly,
    true
  )

export const toolkit = Toolkit.make(
  tool("get_weather", "Get the weather forecast for a city.", {
    city: described(Schema.String, "City name"),
    date: Schema.optionalKey(described(Schema.String, "Day, ISO 8601")),
    unit: Schema.optionalKey(Schema.Literals(["celsius", "fahrenheit"]))
  }),
  tool("find_restaurants", "Find restaurants in a city, by cuisine.", {
    city: described(Schema.String, "City name"),
    cuisine: Schema.optionalKey(Schema.Literals(["italian", "french", "japanese", "indian", "mexican"])),
    limit: Schema.optionalKey(described(Schema.Int, "How many restaurants"))
  }),
  tool("find_events", "List concerts, exhibitions and other events in a city.", {
    city: described(Schema.String, "City name"),
    date: Schema.optionalKey(described(Schema.String, "Day, ISO 8601"))
  }),
  tool("search_flights", "Search for flights between two cities.", {
    origin: described(Schema.String, "City of departure"),
    destination: described(Schema.String, "City of arrival"),
    date: Schema.optionalKey(described(Schema.String, "Day, ISO 8601"))
  }),
  tool("convert_currency", "Convert an amount of money from one currency to another.", {
    amount: Schema.Finite,
    from: described(Schema.String, "Currency code"),
    to: described(Schema.String, "Currency code")
  }),
  tool("stock_price", "Get the current price of a stock.", { ticker: described(Schema.String, "Ticker symbol") }),
  tool("translate_text", "Translate a text into another language.", {
    text: Schema.String,
    language: described(Schema.String, "Target language")
  }),
  tool("web_search", "Search the web for information about a topic.", { query: Schema.String }),
  tool("order_status", "Look up the delivery status of a customer's order.", { order_id: Schema.String }),
  tool("send_email", "Send an email message to a person.", {
    to: described(Schema.String, "Email address of the recipient"),
    body: described(Schema.String, "Text of the message")
  }),
  tool("find_files", "Find files in the project by extension, glob or folder.", {
    glob: Schema.optionalKey(Schema.String),
    directory: Schema.optionalKey(Schema.String)
  }),
  tool("analyse_file", "Analyse a source file: count its lines, functions, imports and TODO comments.", {
    path: described(Schema.String, "Path of the file")
  }),
  tool("search_text", "Search the project's files for a text or regular expression.", {
    query: Schema.String,
    directory: Schema.optionalKey(Schema.String)
  }),
  tool("git_log", "Show the latest git commits.", {
    limit: Schema.optionalKey(described(Schema.Int, "How many commits"))
  })
)

type Expected = readonly [tool: string, params: Record<string, unknown>]
export interface Case {
  readonly request: string
  readonly calls: ReadonlyArray<Expected>
}

const on = (request: string, ...calls: ReadonlyArray<Expected>): Case => ({ request, calls })

/** The day on which "today" is said in these requests: Wednesday 4 March 2026. */
export const today = "2026-03-04"

/** Used while the planner was written. */
export const seen: ReadonlyArray<Case> = [
  on("What is the weather in Paris?", ["get_weather", { city: "Paris" }]),
  on(
    "Weather in Paris, Rome and Oslo",
    ["get_weather", { city: "Paris" }],
    ["get_weather", { city: "Rome" }],
    ["get_weather", { city: "Oslo" }]
  ),
  on("Will it rain in New York tomorrow?", ["get_weather", { city: "New York", date: "2026-03-05" }]),
  on("Give me the forecast for Berlin in celsius", ["get_weather", { city: "Berlin", unit: "celsius" }]),
  on(
    "Show the weather, the events and the restaurants in Lisbon",
    ["get_weather", { city: "Lisbon" }],
    ["find_events", { city: "Lisbon" }],
    ["find_restaurants", { city: "Lisbon" }]
  ),
  on("Find 5 Italian restaurants in Rome", ["find_restaurants", { city: "Rome", cuisine: "italian", limit: 5 }]),
  on(
    "Where can I eat Japanese food in London and in Madrid?",
    ["find_restaurants", { city: "London", cuisine: "japanese" }],
    ["find_restaurants", { city: "Madrid", cuisine: "japanese" }]
  ),
  on("What concerts are on in Vienna on 2026-05-01?", ["find_events", { city: "Vienna", date: "2026-05-01" }]),
  on("Flights from Paris to Rome on May 3", ["search_flights", {
    origin: "Paris",
    destination: "Rome",
    date: "2026-05-03"
  }]),
  on("Search flights from Oslo to New York tomorrow", [
    "search_flights",
    { origin: "Oslo", destination: "New York", date: "2026-03-05" }
  ]),
  on("Convert 100 USD to EUR", ["convert_currency", { amount: 100, from: "USD", to: "EUR" }]),
  on("How much is 2,500 yen in dollars?", ["convert_currency", { amount: 2500, from: "JPY", to: "USD" }]),
  on(
    "Convert 10, 20 and 50 euros to pounds",
    ["convert_currency", { amount: 10, from: "EUR", to: "GBP" }],
    ["convert_currency", { amount: 20, from: "EUR", to: "GBP" }],
    ["convert_currency", { amount: 50, from: "EUR", to: "GBP" }]
  ),
  on("What is the stock price of AAPL?", ["stock_price", { ticker: "AAPL" }]),
  on(
    "Get the price of the stocks MSFT, GOOG and NVDA",
    ["stock_price", { ticker: "MSFT" }],
    ["stock_price", { ticker: "GOOG" }],
    ["stock_price", { ticker: "NVDA" }]
  ),
  on("Translate \"good morning\" into French", ["translate_text", { text: "good morning", language: "French" }]),
  on(
    "Translate \"thank you\" into German, Spanish and Italian",
    ["translate_text", { text: "thank you", language: "German" }],
    ["translate_text", { text: "thank you", language: "Spanish" }],
    ["translate_text", { text: "thank you", language: "Italian" }]
  ),
  on("Search the web for quantum computing", ["web_search", { query: "quantum computing" }]),
  on("Look up information about the history of tea on the internet", ["web_search", { query: "history of tea" }]),
  on("Where is my order A-1042?", ["order_status", { order_id: "A-1042" }]),
  on(
    "Check the status of orders A-1, A-2 and A-3",
    ["order_status", { order_id: "A-1" }],
    ["order_status", { order_id: "A-2" }],
    ["order_status", { order_id: "A-3" }]
  ),
  on("Send an email to ann@example.com saying \"the build is green\"", [
    "send_email",
    { to: "ann@example.com", body: "the build is green" }
  ]),
  on("Find all TypeScript files in src", ["find_files", { glob: "**/*.ts", directory: "src" }]),
  on("List the *.md files", ["find_files", { glob: "*.md" }]),
  on("Analyse src/index.ts", ["analyse_file", { path: "src/index.ts" }]),
  on(
    "Analyse src/a.ts, src/b.ts and src/c.ts",
    ["analyse_file", { path: "src/a.ts" }],
    ["analyse_file", { path: "src/b.ts" }],
    ["analyse_file", { path: "src/c.ts" }]
  ),
  on("How many lines and functions does src/engine/Executor.ts have?", ["analyse_file", {
    path: "src/engine/Executor.ts"
  }]),
  on("Search the files for \"TODO\"", ["search_text", { query: "TODO" }]),
  on("Search the code in src for `Effect.gen` and `Layer.effect`", [
    "search_text",
    { query: "Effect.gen", directory: "src" }
  ], ["search_text", { query: "Layer.effect", directory: "src" }]),
  on("Show the last 10 commits", ["git_log", { limit: 10 }]),
  on("Show the git log and find all Markdown files", ["git_log", {}], ["find_files", { glob: "**/*.md" }]),
  on(
    "What is the weather in Oslo and the stock price of TSLA?",
    ["get_weather", { city: "Oslo" }],
    ["stock_price", { ticker: "TSLA" }]
  ),
  on(
    "I am going to Madrid: what is the weather, which events are on, and where can I eat?",
    ["get_weather", { city: "Madrid" }],
    ["find_events", { city: "Madrid" }],
    ["find_restaurants", { city: "Madrid" }]
  ),
  on("Find all TypeScript files in src and analyse each of them", ["find_files", {
    glob: "**/*.ts",
    directory: "src"
  }]),
  on("Analyse every TypeScript file in src", ["find_files", { glob: "**/*.ts", directory: "src" }]),
  on("Tell me a joke"),
  on("What is the meaning of life?"),
  on("Thank you very much!"),
  on("What is the weather like?"),
  on("Convert my money"),
  on("Play some music"),
  on("weather in oslo please", ["get_weather", { city: "oslo" }])
]

/** Written before the planner first ran and never used to change it. */
export const unseen: ReadonlyArray<Case> = [
  on("Is it going to be sunny in Athens on Friday?", ["get_weather", { city: "Athens", date: "2026-03-06" }]),
  on(
    "Compare the weather in Tokyo, Seoul, Beijing and Hong Kong",
    ["get_weather", { city: "Tokyo" }],
    ["get_weather", { city: "Seoul" }],
    ["get_weather", { city: "Beijing" }],
    ["get_weather", { city: "Hong Kong" }]
  ),
  on("Any good Mexican restaurants in San Francisco?", ["find_restaurants", {
    city: "San Francisco",
    cuisine: "mexican"
  }]),
  on("Which exhibitions can I visit in Amsterdam today?", ["find_events", { city: "Amsterdam", date: "2026-03-04" }]),
  on("I need a flight from Dublin to Prague on 12 June", [
    "search_flights",
    { origin: "Dublin", destination: "Prague", date: "2026-06-12" }
  ]),
  on("Exchange 75 pounds into Swiss francs", ["convert_currency", { amount: 75, from: "GBP", to: "CHF" }]),
  on("How are AMZN and META shares doing?", ["stock_price", { ticker: "AMZN" }], ["stock_price", { ticker: "META" }]),
  on("How do you say \"see you soon\" in Japanese?", ["translate_text", {
    text: "see you soon",
    language: "Japanese"
  }]),
  on("Google the best hiking trails in Norway", ["web_search", { query: "best hiking trails in Norway" }]),
  on("Has order #58213 shipped yet?", ["order_status", { order_id: "58213" }]),
  on("Email bob@corp.io and eve@corp.io \"meeting at noon\"", ["send_email", {
    to: "bob@corp.io",
    body: "meeting at noon"
  }], ["send_email", { to: "eve@corp.io", body: "meeting at noon" }]),
  on("Which Python files are there under scripts?", ["find_files", { glob: "**/*.py", directory: "scripts" }]),
  on(
    "Count the lines of README.md, package.json and src/main.ts",
    ["analyse_file", { path: "README.md" }],
    ["analyse_file", { path: "package.json" }],
    ["analyse_file", { path: "src/main.ts" }]
  ),
  on("grep the project for 'deprecated'", ["search_text", { query: "deprecated" }]),
  on("What were the five most recent commits?", ["git_log", { limit: 5 }]),
  on(
    "Convert 30 dollars to euros and tell me the weather in Nice",
    ["convert_currency", { amount: 30, from: "USD", to: "EUR" }],
    ["get_weather", { city: "Nice" }]
  ),
  on(
    "Track order B-77, then show the latest commits",
    ["order_status", { order_id: "B-77" }],
    ["git_log", {}]
  ),
  on(
    "Find events and restaurants in Porto",
    ["find_events", { city: "Porto" }],
    ["find_restaurants", { city: "Porto" }]
  ),
  on("Look at all JavaScript files in lib and count the functions of each", [
    "find_files",
    { glob: "**/*.js", directory: "lib" }
  ]),
  on("Who are you?"),
  on("Write a poem about autumn"),
  on("Set an alarm for 7am"),
  on("Send an email"),
  on("How tall is Mount Everest?")
]
