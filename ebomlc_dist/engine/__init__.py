"""A run, from its configuration to its summary. The loop, and where each line of it lives::

    dataset = load and check the data                      preflight.load_everywhere, data.run_data
    training = networks, optimisers, loader, method        build.build
    restore the newest whole checkpoint, if resumed        resume, state.restore
    for each epoch:
        begin it: stage, learning rates, new weights       epochs.begin_epoch
        for each step:
            batch = this rank's slice of step number N     data.loaders.paired
            result = method.step(networks, batch)          methods.*, the reducer in distributed.communicator
            apply it where all of it is finite             step.TrainStep, optimizers (or replayed: cuda_graph)
            if any rank was asked to stop: save, leave     stop.AgreedFlag, run_status.Stopped
        evaluate, keep scores, write a checkpoint          evaluate, scores, state.capture, files.checkpoints
    write summary and model                                run_summary, export

`trainer` holds the two loops, `run` what stands around them, `run_status` how the run ended.
"""
