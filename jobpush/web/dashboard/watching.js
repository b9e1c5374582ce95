// Jobs that somebody wants to be told of: a notification where the browser allows one, a sound if it is switched on, and the title.

import { keyOf } from "./store.js";
import { stateWord, word } from "./words.js";

const KEPT = "jobpush.watching";

export class Watching {
  constructor() {
    this.keys = new Set(read(KEPT, []));
    this.sound = read("jobpush.sound", false);
  }

  has(key) {
    return this.keys.has(key);
  }

  async toggle(key) {
    if (this.keys.has(key)) {
      this.keys.delete(key);
    } else {
      this.keys.add(key);
      if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
    }
    write(KEPT, [...this.keys]);
  }

  setSound(on) {
    this.sound = on;
    write("jobpush.sound", on);
    if (on) this.beep();
  }

  // A change has come, or what was missed was loaded.
  changed(job) {
    const key = keyOf(job);
    if (!this.keys.has(key) || job.phase !== "DONE" || !job.settled) return;
    this.keys.delete(key);
    write(KEPT, [...this.keys]);
    const text = word("ended", { job: job.name ? `${key} ${job.name}` : key, state: stateWord(job.state) });
    if ("Notification" in window && Notification.permission === "granted") new Notification("jobpush", { body: text, tag: key });
    if (this.sound) this.beep(job.outcome === "COMPLETED");
    this.told?.(text);
  }

  beep(good = true) {
    try {
      this.audio ??= new AudioContext();
      const at = this.audio.currentTime;
      for (const [place, pitch] of (good ? [660, 880] : [440, 330]).entries()) {
        const tone = this.audio.createOscillator();
        const volume = this.audio.createGain();
        tone.frequency.value = pitch;
        volume.gain.setValueAtTime(0.12, at + place * 0.16);
        volume.gain.exponentialRampToValueAtTime(0.001, at + place * 0.16 + 0.15);
        tone.connect(volume).connect(this.audio.destination);
        tone.start(at + place * 0.16);
        tone.stop(at + place * 0.16 + 0.16);
      }
    } catch {
      // no sound here
    }
  }
}

export function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing
  }
}
