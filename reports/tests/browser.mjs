// Opens pages from disk in a real browser and uses them; from the repository's root: node browser.mjs CHROMIUM SHOTS PAGE...
// Every page must load without a word on the console and without a dialog; a run's page must filter, find, zoom and tell an event's details.

import { mkdir, readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';

const [chromium, shots, ...pages] = process.argv.slice(2);
// A frame a tenth of a second long is seen as a jerk; a shared machine without a graphics card is slower than a reader's.
const LONGEST_FRAME_MS = 100;

const complaints = [];
const complain = (page, text) => complaints.push(`${page}: ${text}`);
const wait = (ms) => new Promise((done) => { setTimeout(done, ms); });

/** What the page shows now. */
const state = (page) => page.evaluate(() => ({
  count: document.getElementById('count').textContent,
  found: document.getElementById('found').textContent,
  lines: document.querySelectorAll('.line').length,
  panel: document.getElementById('panel').hidden ? null : document.getElementById('panel').textContent,
  fields: document.querySelectorAll('#panel .fields tr').length,
}));

/**
 * How long frames take while somebody zooms and moves about, by the wall clock: what a browser says of its own frames is rounded to its screen's
 * rhythm and hides what was late. Whether the picture changed at all is looked at too.
 */
async function frames(page) {
  return page.evaluate(async () => {
    const canvas = document.getElementById('timeline');
    const box = canvas.getBoundingClientRect();
    const turn = (deltaY, shiftKey, share) => canvas.dispatchEvent(new WheelEvent('wheel', {
      deltaY, shiftKey, clientX: box.left + 280 + (box.width - 280) * share, clientY: box.top + 200, bubbles: true, cancelable: true,
    }));
    // Read from a copy: reading from a canvas would make the browser draw it another way from then on.
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    const picture = () => {
      copy.drawImage(canvas, 0, 0);
      return copy.getImageData(250, 0, canvas.width - 250, canvas.height).data.reduce((sum, byte, at) => (sum * 31 + byte * (at % 97)) | 0, 0);
    };
    document.getElementById('all').click();
    await new Promise((done) => { setTimeout(done, 300); });
    const lengths = [];
    const pictures = new Set([picture()]);
    for (let step = 0; step < 120; step += 1) {
      const before = performance.now();
      if (step < 40) turn(-120, false, 0.6); else if (step < 80) turn(90, true, 0.5); else turn(120, false, 0.4);
      await new Promise(requestAnimationFrame);
      lengths.push(performance.now() - before);
      if (step % 20 === 19) pictures.add(picture());
    }
    lengths.sort((one, other) => one - other);
    return { median: lengths[60], p95: lengths[114], longest: lengths[119], pictures: pictures.size };
  });
}

/** Frames as they are at first, and with everything open and the list following the timeline. */
async function measure(page, name) {
  for (const how of ['as opened', 'all open']) {
    if (how === 'all open') {
      await page.evaluate(() => document.getElementById('in-view').click());
      await page.keyboard.press('o');
      await wait(300);
    }
    const { pictures, ...took } = await frames(page);
    const told = Object.entries(took).map(([what, ms]) => `${what} ${ms.toFixed(1)} ms`).join(', ');
    console.log(`  ${how}: ${told}`);
    if (pictures < 5) complain(name, `the wheel changes nothing (${pictures} pictures)`);
    if (took.p95 > LONGEST_FRAME_MS) complain(name, `frames are too long, ${how}: ${told}`);
  }
}

async function useRun(page, name) {
  const shot = (what) => page.screenshot({ path: join(shots, `${name}-${what}.png`) });
  await page.evaluate(() => document.getElementById('explorer').scrollIntoView());
  const before = await state(page);
  if (before.lines === 0) complain(name, 'the list is empty');

  // An event of the list has details.
  const list = await (await page.$('#list')).boundingBox();
  await page.mouse.click(list.x + 300, list.y + 33);
  const opened = await state(page);
  if (!opened.panel || opened.fields < 3) complain(name, 'a click on a line opens no details');
  await page.keyboard.press('Escape');
  if ((await state(page)).panel) complain(name, 'Escape does not close the details');

  // So has what is clicked in the timeline, wherever that is drawn.
  const clicked = await clickInTimeline(page);
  if (!clicked) complain(name, 'a click in the timeline opens no details');
  await shot('details');
  await page.keyboard.press('Escape');

  await page.type('#filter', 'phase');
  await wait(400);
  const filtered = await state(page);
  if (filtered.count === before.count) complain(name, 'the filter leaves the list as it is');
  await page.click('#unfilter');
  if ((await state(page)).count !== before.count) complain(name, 'what was filtered does not come back');

  await page.type('#find', 'workload');
  await wait(400);
  const found = await state(page);
  if (!/^\d+ of [\d,]+$/.test(found.found) || !found.panel) complain(name, `finding says ${JSON.stringify(found.found)}`);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');

  console.log(`  ${before.count}`);
  await measure(page, name);
  await page.keyboard.press('c');
  await page.evaluate(() => {
    document.getElementById('in-view').click();
    document.getElementById('first').click();
  });
  await wait(200);
  await shot('timeline');
}

/** Points at places of the timeline until one is an event's, and clicks there. */
async function clickInTimeline(page) {
  const box = await (await page.$('#timeline')).boundingBox();
  for (let y = 40; y < box.height - 10; y += 9) {
    for (let x = 286; x < box.width - 4; x += 7) {
      await page.mouse.move(box.x + x, box.y + y);
      if (await page.evaluate(() => document.getElementById('timeline').style.cursor === 'pointer')) {
        await page.mouse.click(box.x + x, box.y + y);
        return (await state(page)).fields >= 3;
      }
    }
  }
  return false;
}

/** Durations as the page's script says them. */
async function checkDurations() {
  const script = await readFile('reports/src/page/text.js', 'utf8');
  const duration = new Function(`${script}; return duration;`)();
  const cases = [
    [999, '999 ns'], [1e3, '1 µs'], [12_340, '12.3 µs'], [999_499, '999 µs'], [999_900, '1 ms'], [999_900_000, '1 s'], [1.25e9, '1.25 s'],
    [59.94e9, '59.9 s'], [59.96e9, '1 min 0 s'], [119.4e9, '1 min 59 s'], [119.6e9, '2 min 0 s'], [3_661e9, '61 min 1 s'],
  ];
  for (const [ns, told] of cases) if (duration(ns) !== told) complain('text.js', `${ns} ns are told as ${duration(ns)}, not as ${told}`);
}

await checkDurations();
await mkdir(shots, { recursive: true });
// The pages are our own, and containers have no place for a sandbox.
const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox'] });
for (const path of pages) {
  const name = basename(path).replace(/\.html$/, '');
  console.log(name);
  for (const scheme of ['light', 'dark']) {
    const page = await browser.newPage();
    await page.setViewport({ width: 1500, height: 1000 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    page.on('console', (message) => complain(name, `says on the console: ${message.text()}`));
    page.on('pageerror', (error) => complain(name, `throws ${error.message}`));
    page.on('dialog', (dialog) => { complain(name, `opens a dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on('request', (request) => {
      if (!/^(file|data):/.test(request.url())) complain(name, `asks for ${request.url()}`);
    });
    await page.goto(pathToFileURL(resolve(path)).href);
    await wait(500);
    await page.screenshot({ path: join(shots, `${name}-${scheme}.png`) });
    if (await page.evaluate(() => document.images.length > 0)) complain(name, 'has an image that nobody put there');
    if (scheme === 'light' && await page.$('#explorer')) await useRun(page, name).catch((error) => complain(name, `cannot be used: ${error.message}`));
    await page.close();
  }
}
await browser.close();
for (const text of complaints) console.error(text);
process.exit(complaints.length ? 1 : 0);
