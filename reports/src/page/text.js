// Words: times, durations, elements. Text reaches the page through textContent alone.

/** An element with properties and children; strings become text nodes. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name === 'class') made.className = value;
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A button that leads somewhere. */
function link(text, act, title = '') {
  return element('button', { type: 'button', class: 'link', title, onclick: act }, text);
}

/** A time of the run as the journal's other readers say it: 3m21.711184s. */
function clock(ns, digits = 6) {
  const total = Math.max(0, ns) / 1e9;
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor(total / 60) % 60;
  // Cut, not rounded: 59.9999999 is not the next minute.
  const factor = 10 ** digits;
  const seconds = (Math.floor((total - Math.floor(total / 60) * 60) * factor + 1e-3) / factor).toFixed(digits);
  const padded = total >= 60 ? seconds.padStart(digits ? digits + 3 : 2, '0') : seconds;
  if (hours) return `${hours}h${String(minutes).padStart(2, '0')}m${padded}s`;
  return minutes ? `${minutes}m${padded}s` : `${padded}s`;
}

/** A time read back: null if the text does not begin with one. */
function parseClock(text) {
  const found = /^\s*(?:(\d+)h)?(?:(\d+)m)?(\d+\.\d+)s/.exec(text);
  if (!found) return null;
  return (Number(found[1] || 0) * 3600 + Number(found[2] || 0) * 60 + Number(found[3])) * 1e9;
}

/** A duration in the unit that suits what it is rounded to: 999.9 µs are 1 ms. */
function duration(ns) {
  if (ns < 1e3) return `${ns} ns`;
  const rounded = Number(ns.toPrecision(3));
  if (rounded < 1e6) return `${rounded / 1e3} µs`;
  if (rounded < 1e9) return `${rounded / 1e6} ms`;
  if (rounded < 60e9) return `${rounded / 1e9} s`;
  const seconds = Math.round(ns / 1e9);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A count with its noun. */
function counted(number, noun) {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
}

/** A name without its namespace. */
function ownName(name) {
  return name.slice(name.lastIndexOf('/') + 1);
}

/** Copies text; pages from disk may be denied the clipboard, so there is an older way beside it. */
async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element('textarea', { value: text });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  const before = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = before; }, 1200);
}
