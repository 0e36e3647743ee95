// Texts of the API, which anyone may have written: they are shown as text, and nothing in them is invisible.

// Controls, also those that change the direction of writing, and everything else that has no shape of its own.
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

// The text as nodes, with each invisible character written as its code.
export function visible(text) {
  const all = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(INVISIBLE)) {
    if (found.index > end) all.append(text.slice(end, found.index));
    const code = document.createElement("span");
    code.className = "code-point";
    code.textContent = `U+${found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    all.append(code);
    end = found.index + found[0].length;
  }
  if (end < text.length) all.append(text.slice(end));
  return all;
}

// The same as one text, for attributes and titles.
export function escaped(text) {
  return text.replace(INVISIBLE, (found) => `U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
}

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

// "3 days", rounded.
export function duration(seconds) {
  const [unit, length] = UNITS.find(([, length]) => seconds >= 0.98 * length) ?? ["second", 1];
  return count(Math.round(seconds / length), unit);
}

// "1 hour 30 minutes", not rounded.
export function exactly(seconds) {
  const parts = [];
  for (const [unit, length] of UNITS) {
    const whole = Math.floor(seconds / length);
    if (whole > 0) parts.push(count(whole, unit));
    seconds -= whole * length;
  }
  return parts.join(" ") || count(seconds, "second");
}

// "in 3 days" or "3 days ago".
export function relative(time, now = Date.now()) {
  const seconds = Math.round((time - now) / 1000);
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
}

// "3 secrets".
export const count = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;

// A time of the API: milliseconds since 1970, or NaN.
export function parseTime(value) {
  return typeof value === "number" ? value : Date.parse(value);
}

// "2026-12-01 03:40" on the clock of the reader.
export function local(time) {
  const at = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
}
