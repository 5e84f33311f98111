import click, itsdangerous
print("signed", itsdangerous.Signer("key").sign("word").decode().split(".")[0])
