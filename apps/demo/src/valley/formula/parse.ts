import { application, constant, type Expression, variable } from "./expression";
import { functions, type OperationName, operations } from "./operations";

/** What is wrong with a formula, and where: characters `position` to `position + length`, counted from 0. */
export class FormulaError extends Error {
  readonly position: number;
  readonly length: number;

  constructor(message: string, position: number, length: number) {
    super(message);
    this.name = "FormulaError";
    this.position = position;
    this.length = length;
  }
}

type TokenKind = "number" | "name" | "operator" | "open" | "close" | "comma" | "end";

interface Token {
  readonly kind: TokenKind;
  /** As it is understood: `**` is `^`. */
  readonly text: string;
  readonly position: number;
  readonly length: number;
}

/** More than this nests no formula that a person writes; the parser calls itself for every level. */
const deepest = 100;
const longest = 1000;

const spellings: Readonly<Record<string, string>> = { "**": "^", "−": "-", "·": "*", "×": "*", "÷": "/" };
const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";

const patterns: readonly (readonly [TokenKind, RegExp])[] = [
  ["number", /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y],
  ["name", /[A-Za-z_π][A-Za-z_0-9]*/y],
  ["operator", /\*\*|[-+*/^−·×÷]|[⁰¹²³⁴⁵⁶⁷⁸⁹]+/y],
  ["open", /\(/y],
  ["close", /\)/y],
  ["comma", /,/y],
];

const constants: Readonly<Record<string, number>> = { pi: Math.PI, π: Math.PI, e: Math.E };
const axes: Readonly<Record<string, 0 | 1>> = { x: 0, y: 1, u: 0, v: 1 };
const infix: Readonly<Record<string, OperationName>> = {
  "+": "add",
  "-": "subtract",
  "*": "multiply",
  "/": "divide",
};

/**
 * Reads a formula of x and y, or of u and v: numbers, `+ - * / ^`, parentheses, the {@link functions}, pi and e. A product
 * may be written without its sign (`3 x`, `2 (x + 1)`) and binds like one with it; `^` binds before a sign on its left, and
 * from the right: -x^2 is -(x^2), and 2^3^2 is 2^9.
 *
 * @throws FormulaError that says what was expected, and where.
 */
export function parseFormula(text: string): Expression {
  if (text.length > longest) {
    throw new FormulaError(`The formula has ${text.length} characters; up to ${longest} can be read.`, longest, 1);
  }
  return new Parser(tokenize(text)).formula();
}

function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let position = 0;
  while (position < text.length) {
    if (/\s/.test(text.charAt(position))) {
      position += 1;
      continue;
    }
    const token = tokenAt(text, position);
    tokens.push(token);
    position += token.length;
  }
  return [...tokens, { kind: "end", text: "", position: text.length, length: 1 }];
}

function tokenAt(text: string, position: number): Token {
  for (const [kind, pattern] of patterns) {
    pattern.lastIndex = position;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) return { kind, text: spellings[found] ?? found, position, length: found.length };
  }
  const character = String.fromCodePoint(text.codePointAt(position) as number);
  const hint = "[]{}".includes(character) ? " Use ( and )." : "";
  throw new FormulaError(`“${character}” has no meaning in a formula.${hint}`, position, character.length);
}

/** By recursive descent; one instance reads one formula. */
class Parser {
  readonly #tokens: readonly Token[];
  #index = 0;
  #depth = 0;
  /** The names of the variables, from the first one that is met. */
  #names: "xy" | "uv" | undefined;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  formula(): Expression {
    if (this.#peek().kind === "end") throw new FormulaError("The formula is empty. Try x^2 + 3 y^2.", 0, 1);
    const result = this.#sum();
    const { kind } = this.#peek();
    if (kind === "close") throw this.#error("There is no ( for this ).");
    if (kind !== "end") throw this.#error(`${this.#nameOfNext()} cannot stand here.`);
    return result;
  }

  #peek(): Token {
    // The last token is the end, and nothing moves past it.
    return this.#tokens[this.#index] as Token;
  }

  #take(): Token {
    const token = this.#peek();
    if (token.kind !== "end") this.#index += 1;
    return token;
  }

  #isOperator(...texts: readonly string[]): boolean {
    return this.#peek().kind === "operator" && texts.includes(this.#peek().text);
  }

  #error(message: string, { position, length }: Token = this.#peek()): FormulaError {
    return new FormulaError(message, position, length);
  }

  #nameOfNext(): string {
    return this.#peek().kind === "end" ? "The end" : `“${this.#peek().text}”`;
  }

  #sum(): Expression {
    this.#depth += 1;
    if (this.#depth > deepest) throw this.#error(`More than ${deepest} parentheses are nested here.`);
    let left = this.#product();
    while (this.#isOperator("+", "-")) {
      const operation = infix[this.#take().text] as OperationName;
      left = application(operation, left, this.#product());
    }
    this.#depth -= 1;
    return left;
  }

  #product(): Expression {
    let left = this.#signed();
    for (;;) {
      if (this.#isOperator("*", "/")) {
        const operation = infix[this.#take().text] as OperationName;
        left = application(operation, left, this.#signed());
      } else if (["number", "name", "open"].includes(this.#peek().kind)) {
        left = application("multiply", left, this.#power());
      } else {
        return left;
      }
    }
  }

  #signed(): Expression {
    let isNegative = false;
    while (this.#isOperator("+", "-")) isNegative = (this.#take().text === "-") !== isNegative;
    const operand = this.#power();
    return isNegative ? application("negate", operand) : operand;
  }

  #power(): Expression {
    const base = this.#atom();
    if (this.#isOperator("^")) {
      this.#take();
      return application("power", base, this.#exponent());
    }
    if (this.#peek().kind === "operator" && superscripts.includes(this.#peek().text.charAt(0))) {
      const digits = Array.from(this.#take().text, (digit) => superscripts.indexOf(digit)).join("");
      return application("power", base, constant(Number(digits)));
    }
    return base;
  }

  #exponent(): Expression {
    this.#depth += 1;
    if (this.#depth > deepest) throw this.#error(`More than ${deepest} powers are nested here.`);
    const result = this.#signed();
    this.#depth -= 1;
    return result;
  }

  #atom(): Expression {
    const token = this.#take();
    switch (token.kind) {
      case "number":
        return constant(Number(token.text));
      case "open": {
        const inner = this.#sum();
        this.#close(token);
        return inner;
      }
      case "name":
        return this.#named(token);
      case "end":
        throw this.#error("The formula ends too early: a number, x, y or ( is missing.", token);
      default:
        throw this.#error(`A number, x, y or ( is missing before “${token.text}”.`, token);
    }
  }

  #named(token: Token): Expression {
    const { text } = token;
    if (isFunction(text)) return this.#call(token, text);
    if (Object.hasOwn(axes, text)) return this.#variable(token);
    if (Object.hasOwn(constants, text)) return constant(constants[text] as number);
    throw this.#error(`“${text}” is not known.${suggestion(text)}`, token);
  }

  #variable(token: Token): Expression {
    const names = "xy".includes(token.text) ? "xy" : "uv";
    this.#names ??= names;
    if (this.#names !== names) {
      const [a, b] = this.#names;
      throw this.#error(`The variables are ${a} and ${b} so far, so “${token.text}” cannot be one.`, token);
    }
    return variable(axes[token.text] as 0 | 1);
  }

  #call(name: Token, operation: (typeof functions)[number]): Expression {
    if (this.#peek().kind !== "open") throw this.#error(`Write ${operation} with parentheses: ${operation}(x).`, name);
    const open = this.#take();
    const operands = [this.#sum()];
    while (this.#peek().kind === "comma") {
      this.#take();
      operands.push(this.#sum());
    }
    this.#close(open);
    if (operations[operation].arity === 1) {
      if (operands.length > 1) throw this.#error(`${operation} takes one operand, not ${operands.length}.`, name);
      return application(operation, ...operands);
    }
    if (operands.length < 2) throw this.#error(`${operation} takes two operands or more: ${operation}(x, y).`, name);
    return operands.reduce((left, right) => application(operation, left, right));
  }

  #close(open: Token): void {
    const { kind } = this.#peek();
    if (kind === "comma") throw this.#error("A comma separates the operands of min and max only.");
    if (kind === "end") throw this.#error("This ( is never closed.", open);
    if (kind !== "close") throw this.#error(`${this.#nameOfNext()} cannot stand here: a ) is missing.`);
    this.#take();
  }
}

function isFunction(name: string): name is (typeof functions)[number] {
  return (functions as readonly string[]).includes(name);
}

const otherNames: Readonly<Record<string, string>> = {
  ln: "log is the natural logarithm",
  arctan: "there are no inverse functions",
  pow: "write x^2",
  square: "write x^2",
  PI: "write pi",
  E: "write e",
};

function suggestion(name: string): string {
  if (Object.hasOwn(otherNames, name)) return ` ${capitalized(otherNames[name] as string)}.`;
  const letters = new Set(name);
  if (letters.size > 1 && [...letters].every((letter) => Object.hasOwn(axes, letter))) {
    return ` For a product put a space or * between: ${[...name].join(" ")}.`;
  }
  const known = [...functions, ...Object.keys(constants), ...Object.keys(axes)];
  const near = known.filter((other) => other.length > 1 && isNear(name.toLowerCase(), other));
  // Letters are exchanged more often than left out.
  const nearest = near.find((other) => other.length === name.length) ?? near[0];
  return nearest !== undefined ? ` Did you mean ${nearest}?` : ` Known are x, y, pi, e, ${functions.join(", ")}.`;
}

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** Whether one letter more, less, other, or two exchanged make one of the other. */
function isNear(a: string, b: string): boolean {
  if (a === b) return true;
  if (Math.abs(a.length - b.length) > 1) return false;
  let from = 0;
  while (from < a.length && a[from] === b[from]) from += 1;
  const [restA, restB] = [a.slice(from), b.slice(from)];
  if (restA.slice(1) === restB || restA === restB.slice(1) || restA.slice(1) === restB.slice(1)) return true;
  return (
    restA.charAt(0) === restB.charAt(1) && restA.charAt(1) === restB.charAt(0) && restA.slice(2) === restB.slice(2)
  );
}
