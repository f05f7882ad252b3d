/** Runs generators a few milliseconds at a time, the most urgent first, so that a hover never waits for a big picture. */

const SLICE_MS = 8;

/** A macrotask without setTimeout's 4 ms floor. @param {() => void} run */
function macrotask(run) {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    channel.port1.close();
    run();
  };
  channel.port2.postMessage(0);
}

export class Scheduler {
  constructor() {
    /** @type {{id: number, priority: number, work: Generator<void, any>, done: (value: any) => void,
     *   fail: (error: unknown) => void}[]} */
    this.jobs = [];
    this.running = false;
  }

  /** @param {number} id @param {number} priority @param {Generator<void, any>} work @returns {Promise<any>} */
  run(id, priority, work) {
    return new Promise((done, fail) => {
      this.jobs.push({ id, priority, work, done, fail });
      if (!this.running) {
        this.running = true;
        macrotask(() => this.slice());
      }
    });
  }

  /** @param {number} id */
  cancel(id) {
    this.jobs = this.jobs.filter((job) => job.id !== id);
  }

  /** @private */
  slice() {
    const until = performance.now() + SLICE_MS;
    while (this.jobs.length && performance.now() < until) {
      const job = this.jobs.reduce((best, next) => (next.priority > best.priority ? next : best));
      try {
        const { done, value } = job.work.next();
        if (!done) continue;
        this.cancel(job.id);
        job.done(value);
      } catch (error) {
        this.cancel(job.id);
        job.fail(error);
      }
    }
    if (this.jobs.length) macrotask(() => this.slice());
    else this.running = false;
  }
}
