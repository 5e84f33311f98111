// Adds a button to each command that copies it; without a script the command is there to be marked.
for (const line of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(line.querySelector("code").textContent);
    button.textContent = "copied";
  });
  line.append(button);
}
