/**
 * The page's side of the engine: sends a site's blocks once, asks, remembers recent answers.
 * @typedef {{values: Float32Array, rows: number, cols: number}} Picture
 */
import workerSource from "../../build/worker.txt";
import { createService } from "./service.js";

/** Bytes of sites kept on the other side, and answers kept here. */
const SITE_BYTES = 320e6;
const ANSWER_BYTES = 96e6;

/** What a picture is for: what is under the pointer comes before what is on the screen, that before the rest. */
export const PRIORITY = { pointer: 3, screen: 2, refine: 1, background: 0 };

/** @param {(answer: any) => void} receive */
function startWorker(receive) {
  const url = URL.createObjectURL(new Blob([workerSource], { type: "text/javascript" }));
  const worker = new Worker(url);
  worker.onmessage = (event) => receive(event.data);
  return { worker, url };
}

/** @param {import("../payload/open.js").Payload} payload */
export function createEngine(payload) {
  let nextId = 1;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, message: any}>} */
  const waiting = new Map();
  /** @type {Map<string, number>} */
  const loaded = new Map();
  /** Answers by question, and how many still wait for each. @type {Map<string, {id: number,
   *   promise: Promise<Float32Array>, holders: number}>} */
  const answers = new Map();
  let answerBytes = 0;
  /** @type {(message: any, transfer?: Transferable[]) => void} */
  let send;
  let stop = () => {};

  const receive = ({ id, value, error }) => {
    const question = waiting.get(id);
    waiting.delete(id);
    if (!question) return;
    if (error) question.reject(new Error(error));
    else question.resolve(value);
  };

  function serveHere() {
    const service = createService((answer) => receive(answer));
    send = (message) => service(message);
    loaded.clear();
    for (const { message } of waiting.values()) {
      load(message.record, message.siteIndex);
      send(message);
    }
  }

  try {
    const { worker, url } = startWorker(receive);
    send = (message, transfer = []) => worker.postMessage(message, transfer);
    // A policy that forbids workers only shows once it starts; then the page itself computes, in small steps.
    worker.onerror = () => {
      worker.terminate();
      serveHere();
    };
    stop = () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    };
  } catch {
    serveHere();
  }

  function storedBlocks(site) {
    const roles = site.scores
      ? {
          query: site.scores.query,
          key: site.scores.key,
          keyMean: site.scores.key_mean,
          sinks: site.scores.sinks,
          diagonals: site.scores.bias?.diagonals,
          keySeen: site.scores.key_seen,
          segmentsOfQueries: site.scores.segments?.[0],
          segmentsOfKeys: site.scores.segments?.[1],
          mask: site.scores.mask,
        }
      : { values: site.weights.block, codebook: site.weights.codebook };
    const present = Object.entries(roles).filter(([, number]) => number !== null && number !== undefined);
    return Object.fromEntries(
      present.map(([role, number]) => {
        const { bytes, entry } = payload.stored(number);
        return [role, { bytes: bytes.slice(), entry }];
      }),
    );
  }

  function load(record, siteIndex) {
    const name = `${record}/${siteIndex}`;
    if (loaded.has(name)) {
      const size = loaded.get(name);
      loaded.delete(name);
      loaded.set(name, size);
      return name;
    }
    const description = payload.header.records[record].sites[siteIndex];
    const stored = storedBlocks(description);
    const size = Object.values(stored).reduce((sum, { bytes }) => sum + 2.5 * bytes.length, 0);
    loaded.set(name, size);
    send({ kind: "load", site: name, description, stored }, Object.values(stored).map(({ bytes }) => bytes.buffer));
    let total = [...loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
    for (const [old, bytes] of loaded) {
      if (total <= SITE_BYTES || old === name) break;
      // Questions already sent about the old site hold on to it until they are answered.
      loaded.delete(old);
      send({ kind: "drop", site: old });
      total -= bytes;
    }
    return name;
  }

  function ask(record, siteIndex, question) {
    const id = nextId++;
    const message = { ...question, id, record, siteIndex, site: load(record, siteIndex) };
    const promise = new Promise((resolve, reject) => waiting.set(id, { resolve, reject, message }));
    send(message);
    return { id, promise };
  }

  /** Make room for a new answer by dropping the oldest. */
  function forget(newest, bytes) {
    answerBytes += bytes;
    for (const [key, answer] of answers) {
      if (answerBytes <= ANSWER_BYTES || key === newest) break;
      if (waiting.has(answer.id)) continue;
      answers.delete(key);
      answer.promise.then((values) => (answerBytes -= values.byteLength));
    }
  }

  return {
    /**
     * @param {{record: number, site: number, head: number, name: string, rowBin: Int32Array, colBin: Int32Array,
     *   rows: number, cols: number, keep?: Uint8Array | null, keepName?: string, sample?: number,
     *   priority?: number, signal?: AbortSignal}} question `name` says what is asked, for remembering answers
     * @returns {Promise<Float32Array>}
     */
    pool({ record, site, name, signal, priority = PRIORITY.screen, ...question }) {
      const key = `${record}/${site}/${question.head}/${question.sample ?? 0}/${question.keepName ?? ""}/${name}`;
      let answer = answers.get(key);
      if (!answer) {
        const { id, promise } = ask(record, site, { kind: "pool", priority, ...question });
        answer = { id, promise, holders: 0 };
        answers.set(key, answer);
        promise.then(
          (values) => forget(key, values.byteLength),
          () => answers.delete(key),
        );
      }
      answer.holders++;
      signal?.addEventListener("abort", () => {
        if (--answer.holders > 0 || !waiting.has(answer.id)) return;
        answers.delete(key);
        waiting.delete(answer.id);
        send({ kind: "cancel", target: answer.id });
      });
      return answer.promise;
    },

    /** Parts of one query's scores; null where the payload holds no queries and keys. */
    products(record, site, head, query, keys) {
      return ask(record, site, { kind: "products", head, query, keys }).promise;
    },

    destroy() {
      waiting.clear();
      stop();
    },
  };
}
