/** Answers questions about sites; the same code serves inside a worker and, where none may start, on the page. */
import { loadSite, pool } from "./core.js";
import { Scheduler } from "./scheduler.js";

/** @param {(answer: any, transfer: Transferable[]) => void} reply */
export function createService(reply) {
  const scheduler = new Scheduler();
  /** @type {Map<string, Promise<any>>} */
  const sites = new Map();

  /** @param {any} question */
  async function answer(question) {
    const site = await sites.get(question.site);
    if (question.kind === "products") {
      return site.products(question.head, question.query, question.keys);
    }
    return scheduler.run(question.id, question.priority, pool(site, question));
  }

  return (message) => {
    if (message.kind === "load") sites.set(message.site, loadSite(message.description, message.stored));
    else if (message.kind === "drop") sites.delete(message.site);
    else if (message.kind === "cancel") scheduler.cancel(message.target);
    else {
      answer(message).then(
        (value) => reply({ id: message.id, value }, value instanceof Float32Array ? [value.buffer] : []),
        (error) => reply({ id: message.id, error: String(error?.message ?? error) }, []),
      );
    }
  };
}
